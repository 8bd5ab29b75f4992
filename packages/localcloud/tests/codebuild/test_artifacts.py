"""Packing and unpacking of artifacts."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from localcloud.codebuild.artifacts import ArtifactError, pack, unpack
from localcloud.codebuild.buildspec import Files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    for name in ("out/app.json", "out/deep/er.txt", "out/.hidden", "notes.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def _names(body: bytes) -> list[str]:
    return sorted(zipfile.ZipFile(BytesIO(body)).namelist())


def test_patterns_select_files_below_the_base_directory(source: Path) -> None:
    assert _names(pack(Files(("**/*",), "out"), source)) == [".hidden", "app.json", "deep/er.txt"]
    assert _names(pack(Files(("**/*",), exclude=("out/**/*",)), source)) == ["notes.md"]
    assert _names(pack(Files(("**/*.txt",), "out", discard_paths=True), source)) == ["er.txt"]


def test_an_artifact_without_files_is_an_error(source: Path) -> None:
    with pytest.raises(ArtifactError, match="no matching artifact paths"):
        pack(Files(("*.zip",)), source)
    with pytest.raises(ArtifactError, match="nowhere"):
        pack(Files(("**/*",), "nowhere"), source)


def test_links_and_execute_bits_are_kept(source: Path, tmp_path: Path) -> None:
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("notes.md")
    target = tmp_path / "target"
    unpack(pack(Files(("**/*",)), source), target)
    assert (target / "run.sh").stat().st_mode & 0o100
    assert not (target / "notes.md").stat().st_mode & 0o100
    assert (target / "link").readlink() == Path("notes.md")


def test_no_entry_of_an_archive_is_written_outside_of_its_folder(tmp_path: Path) -> None:
    up = BytesIO()
    with zipfile.ZipFile(up, "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(ArtifactError, match="outside"):
        unpack(up.getvalue(), tmp_path / "target")
    through = BytesIO()
    with zipfile.ZipFile(through, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "elsewhere"))
        archive.writestr("link/file", "x")
    with pytest.raises(OSError, match="exists"):
        unpack(through.getvalue(), tmp_path / "other")
    assert not (tmp_path / "elsewhere").exists()
