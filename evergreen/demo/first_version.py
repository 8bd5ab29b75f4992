"""Scores of the first version on all flights, for the comparison with a model that is never retrained."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.flights import raw_file
from evergreen.demo.terminal import DemoError
from evergreen.names import Names


def scores(cloud: LocalCloud, model: Names, release: str, days: Iterable[date], folder: Path) -> dict[str, float]:
    """Return the score of each flight from the release's own archive, run in a process of its own.

    Args:
        cloud: The local cloud.
        model: The model's names.
        release: Id of the release that is unpacked.
        days: The days whose flights are scored.
        folder: Holds the days' raw objects. The archive is unpacked in `never` below it.

    Raises:
        DemoError: The archive's score.py failed.
    """
    work = folder / "never"
    shutil.rmtree(work, ignore_errors=True)
    raw = work / "raw"
    for day in days:
        link = raw_file(raw, day)
        link.parent.mkdir(parents=True)
        link.symlink_to(raw_file(folder, day).resolve())
    bucket = cloud.outputs(model.platform_stack)["ArtifactBucketName"]
    key = f"releases/{model.name}/{release}/model.tar.gz"
    archive = cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        tar.extractall(work / release, filter="data")
    found = work / f"{release}.csv"
    command = [sys.executable, str(work / release / "code" / "score.py"), str(raw), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{release} could not score {raw}: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    with found.open(newline="", encoding="utf-8") as file:
        return {flight: float(score) for flight, _, score in csv.reader(file)}
