"""Files of the application that SageMaker jobs read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

_ROOT = Path(__file__).parents[3]


class AnalyzerCode(Construct):
    """The drift analyzer as a program for the framework's image."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.asset = s3_assets.Asset(
            self,
            "Asset",
            path=str(_ROOT / "packages" / "analyzer" / "src"),
            exclude=["**/__pycache__"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )


class TextFile(Construct):
    """A text that is composed at synth, as an object that jobs can read."""

    def __init__(self, scope: Construct, construct_id: str, *, text: str) -> None:
        super().__init__(scope, construct_id)
        folder = _ROOT / ".cache" / "files"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        self.asset = s3_assets.Asset(self, "Asset", path=str(path))
