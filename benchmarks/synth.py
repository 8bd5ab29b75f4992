"""How long a synth takes: `python benchmarks/synth.py`.

Measures `python app.py`, with cdk-nag and the built-in validation on, in a copy of the tree, against an empty app that
imports the same modules with both on. Pipelines are compiled before (warm) unless said otherwise (cold). Every figure
is the median wall time of fresh processes; the two sides alternate, so that a busy machine slows both.

The last line is JSON: `synth_ratio` (at most 2.5), `per_model_s` (each further model, from 1 to 50: under 0.15),
`models` (seconds by number of models), and beside them `empty_s`, `cold_s` and `load`, the machine's load average
before and after: a machine that does something else has other figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PARTS = (
    "app.py",
    "cdk.json",
    "evergreen.yaml",
    "configuration",
    "constructs",
    "lambda",
    "packages/analyzer",
    "pipelines",
    "stacks",
)
_MODELS = (1, 10, 50)
_EMPTY = """
import json, os
import stacks
import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

context = json.load(open("cdk.json"))["context"]
app = cdk.App(context=context, outdir=os.environ["CDK_OUTDIR"], analytics_reporting=False)
cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
# One resource, the smallest there is: the validation refuses a template without any.
cdk.CfnWaitConditionHandle(cdk.Stack(app, "empty", env=cdk.Environment(region="us-east-1")), "Nothing")
app.synth()
"""


def copy_of_tree(folder: Path, models: int) -> Path:
    """Make a tree with a number of copies of the example model, and no compiled pipeline."""
    folder.mkdir()
    for part in _PARTS:
        source = _ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, folder / part)
    shutil.copytree(_ROOT / "examples", folder / "models", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (folder / "empty.py").write_text(_EMPTY, encoding="utf-8")
    first, *others = sorted(path for path in (folder / "models").iterdir() if (path / "model.yaml").is_file())
    for other in others:
        shutil.rmtree(other)
    name = first.name.replace("_", "-")
    for number in range(2, models + 1):
        copy = first.with_name(f"model_{number}")
        shutil.copytree(first, copy)
        specification = (copy / "model.yaml").read_text(encoding="utf-8")
        (copy / "model.yaml").write_text(
            specification.replace(f"name: {name}\n", f"name: model-{number}\n", 1), encoding="utf-8"
        )
    return folder


def seconds(tree: Path, script: str) -> float:
    """Wall time of one run.

    Raises:
        SystemExit: The run failed; what it said is on standard error.
    """
    with tempfile.TemporaryDirectory() as outdir:
        started = time.perf_counter()
        run = subprocess.run(
            [sys.executable, script],
            cwd=tree,
            env={"PATH": os.environ["PATH"], "CDK_OUTDIR": outdir},
            capture_output=True,
            text=True,
            check=False,
        )
        elapsed = time.perf_counter() - started
    if run.returncode:
        sys.stderr.write(run.stderr)
        raise SystemExit(f"{script} failed with {run.returncode}")
    return elapsed


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind (default: %(default)s)")
    runs = parser.parse_args().runs
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        trees = {count: copy_of_tree(Path(folder, str(count)), count) for count in _MODELS}
        # The first run also writes Python's bytecode, which no later run has to; so it is not the cold one.
        seconds(trees[1], "empty.py")
        cold = {count: seconds(tree, "app.py") for count, tree in trees.items()}
        empty: list[float] = []
        warm: dict[int, list[float]] = {count: [] for count in _MODELS}
        for _ in range(runs):
            empty.append(seconds(trees[1], "empty.py"))
            for count, tree in trees.items():
                warm[count].append(seconds(tree, "app.py"))
    floor = statistics.median(empty)
    medians = {count: statistics.median(times) for count, times in warm.items()}
    per_model = (medians[_MODELS[-1]] - medians[1]) / (_MODELS[-1] - 1)
    print(f"empty app, same modules, nag and validation   {floor:6.2f} s")
    for count in _MODELS:
        print(f"{count:3} models, compiled before {medians[count]:6.2f} s · not compiled before {cold[count]:6.2f} s")
    print(f"each further model {per_model:.3f} s")
    print(
        json.dumps(
            {
                "synth_ratio": round(medians[1] / floor, 2),
                "per_model_s": round(per_model, 3),
                "models": {str(count): round(medians[count], 2) for count in _MODELS},
                "empty_s": round(floor, 2),
                "cold_s": {str(count): round(cold[count], 2) for count in _MODELS},
                "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
            }
        )
    )


if __name__ == "__main__":
    main()
