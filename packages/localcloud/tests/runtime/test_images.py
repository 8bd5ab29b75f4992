"""Addresses of images, lock files, and the environments that uv makes from them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from localcloud_support.containers import IMAGES

from localcloud.runtime import images
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.images import environments
from localcloud.runtime.images.environments import Environment, environment

LOCKS = sorted(Path(images.__file__).parent.glob("*.txt"))
README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (IMAGES + "sagemaker-xgboost:3.2-0", None),
        (IMAGES + "sagemaker-scikit-learn:1.4-2-cpu-py3", None),
        (IMAGES + "sagemaker-xgboost@sha256:" + "0" * 64, None),
        (IMAGES + "sagemaker-xgboost:9.9", "Cannot find the requested image"),
        (IMAGES + "sagemaker-scikit-learn:3.2-0", "Cannot find the requested image"),
        (IMAGES.replace("us-east-1", "eu-west-1") + "sagemaker-xgboost:3.2-0", "Cannot find repository"),
        (IMAGES.replace("683313688378", "999999999999") + "sagemaker-xgboost:3.2-0", "in registry ID: 999999999999"),
        (IMAGES.replace(".com", ".com.cn") + "sagemaker-xgboost:3.2-0", "Cannot find repository"),
        ("746614075791.dkr.ecr.us-west-1.amazonaws.com/sagemaker-xgboost:3.2-0", "Cannot find repository"),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:mine", None),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/somebodys:1", None),
        ("any/image:1", None),
    ],
)
def test_an_address_that_aws_does_not_have_is_known(image: str, problem: str | None) -> None:
    found = images.unknown_to_aws(image, "us-east-1", "000000000000")
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize("repository", images.FRAMEWORKS)
def test_each_tag_has_an_environment_of_its_own_and_a_digest_names_its_tag(repository: str) -> None:
    known = images.tags(repository)
    locks = {images.lock_file(f"{IMAGES}{repository}:{tag}") for tag in known}
    assert len(locks) == len(known) >= 3
    for tag in known:
        name = f"{IMAGES}{repository}"
        digest = hashlib.sha256(f"{name}:{tag}".encode()).hexdigest()
        assert images.lock_file(f"{name}@sha256:{digest}") == images.lock_file(f"{name}:{tag}")


def test_the_tables_of_registries_and_tags_are_the_sdks() -> None:
    found = find_spec("sagemaker")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the SageMaker Python SDK")
    folder = Path(next(iter(found.submodule_search_locations)), "core/image_uri_config")
    ours = json.loads((Path(images.__file__).parent / "registries.json").read_text())
    for repository, table in (("sagemaker-xgboost", "xgboost"), ("sagemaker-scikit-learn", "sklearn")):
        versions = json.loads((folder / f"{table}.json").read_text())["training"]["versions"]
        of_framework = {name: one for name, one in versions.items() if one["repository"] == repository}
        assert ours[repository]["tags"] == list(of_framework)
        assert all(one["registries"] == ours[repository]["accounts"] for one in of_framework.values())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_file_names_its_image_and_pins_every_package(lock: Path) -> None:
    head, versions, differences, *pins = lock.read_text().splitlines()
    assert (head[:2], versions[:12], differences[:21]) == ("# ", "# Versions: ", "# Not as in the image")
    assert environments.wanted_python(lock) in head
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", pin) for pin in pins)
    names = {pin.partition("==")[0] for pin in pins}
    assert {"sagemaker-containers", "sagemaker-inference", "numpy", "pandas", "gunicorn", "pip"} <= names


def test_the_readmes_table_of_images_is_the_lock_files() -> None:
    rows = dict(re.findall(r"^\| `(sagemaker-[\w-]+:[\w.-]+)` \| (.+) \|$", README.read_text(), re.MULTILINE))
    expected = {}
    for lock in LOCKS:
        pins = dict(line.split("==") for line in lock.read_text().splitlines() if "==" in line)
        framework = pins.get("xgboost-cpu") or pins.get("xgboost")
        shown = [environments.wanted_python(lock), *([framework] if framework else ["–"])]
        shown += [pins["scikit-learn"], pins["numpy"], pins["pandas"]]
        expected[environments.image_name(lock)] = " | ".join(shown)
    assert rows == expected


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Return the environment, not yet made, of an image with one small package."""
    monkeypatch.setenv(environments.CACHE_VARIABLE, str(tmp_path / "images"))
    lock = tmp_path / "tiny-1.txt"
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    lock.write_text(f"# tiny:1. Python {minor}.\nsix==1.17.0\n")
    return environment(lock)


_MAKE = "import sys; from pathlib import Path; from localcloud.runtime.images.environments import environment as e;"


def test_two_first_uses_at_once_make_an_environment_once(tiny: Environment) -> None:
    code = f"{_MAKE} e(Path(sys.argv[1])).make(print)"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tiny.lock)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(text.count("Making the environment of tiny:1") for text in said) == [0, 1]
    done = subprocess.run([tiny.python, "-c", "import six; import boto3"], capture_output=True, text=True, check=False)
    assert "No module named 'boto3'" in done.stderr, "nothing but the image's packages is importable"


def test_an_environment_whose_making_was_interrupted_is_made_anew(tiny: Environment) -> None:
    (tiny.root / "lib").mkdir(parents=True)
    (tiny.root / "lib/half.txt").touch()
    tiny.make(lambda _: None)
    assert tiny.made
    assert not (tiny.root / "lib/half.txt").exists()


def test_a_package_that_cannot_be_had_fails_by_name_and_leaves_nothing_finished(tiny: Environment) -> None:
    assert tiny.lock is not None
    tiny.lock.write_text(tiny.lock.read_text().replace("1.17.0", "0.0.99"))
    with pytest.raises(ContainerError, match=r"the environment of tiny:1 cannot be made with Python 3.*six"):
        tiny.make(lambda _: None)
    assert not tiny.made


def test_without_the_images_python_the_nearest_is_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environments.CACHE_VARIABLE, str(tmp_path / "images"))
    lock = tmp_path / "old-1.txt"
    lock.write_text("# old:1. Python 3.1.\nsix==1.17.0\n")
    said: list[str] = []
    made = environment(lock)
    made.make(said.append)
    assert "for lack of 3.1" in said[0]
    assert made.note.endswith("(the image has 3.1)")
