"""The layer with the drift analyzer and its libraries."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

_ROOT = Path(__file__).parents[3]
_NOT_BUILT = (
    "the analyzer's layer was not built from this lock and this analyzer; "
    "build it: python lambda/layers/analyzer/build.py"
)
# In the environment that synthesises, so that all copies of the tree share it.
_LAYER = Path(sys.prefix) / "share" / "evergreen" / "monitor-layer"
_LOCK = _ROOT / "lambda" / "layers" / "analyzer"
_ANALYZER = _ROOT / "packages" / "analyzer" / "src" / "drift_analyzer"


class AnalyzerLayer(Construct):
    """The analyzer with numpy and orjson for arm64, which `lambda/layers/analyzer` builds into the environment.

    Without a current build a synth still works, offline as always. CloudFormation then refuses the deployment with the
    command that builds the layer.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        built = _is_built()
        if not built:
            cdk.Annotations.of(self).add_warning_v2("evergreen:monitor-layer", _NOT_BUILT)
            never = cdk.CfnRuleAssertion(
                assert_=cdk.Fn.condition_equals("built", "unbuilt"), assert_description=_NOT_BUILT
            )
            cdk.CfnRule(self, "Unbuilt", assertions=[never])
        self.layer = lambda_.LayerVersion(
            self,
            "Layer",
            description="The analyzer with numpy and orjson, as locked in lambda/layers/analyzer/requirements.txt",
            code=lambda_.Code.from_asset(
                str(_LAYER if built else _LOCK),
                # The hash covers the lock, the build script and the analyzer; installed files vary with uv's version.
                asset_hash_type=cdk.AssetHashType.CUSTOM,
                asset_hash=hashlib.sha256(
                    b"".join(path.read_bytes() for path in (*sorted(_LOCK.glob("*.*")), *_sources()))
                ).hexdigest(),
            ),
            compatible_architectures=[lambda_.Architecture.ARM_64],
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_14],
        )


def _is_built() -> bool:
    """Return whether the environment has the layer of the current lock and the current analyzer."""
    pairs = [(_LAYER / "requirements.txt", _LOCK / "requirements.txt")]
    built = _LAYER / "python" / _ANALYZER.name
    pairs += [(built / path.relative_to(_ANALYZER), path) for path in _sources()]
    if len(list(built.rglob("*.py"))) >= len(pairs):  # a module that the analyzer no longer has
        return False
    return all(used.is_file() and used.read_bytes() == source.read_bytes() for used, source in pairs)


def _sources() -> list[Path]:
    """Return the analyzer's modules in the same order everywhere."""
    return sorted(_ANALYZER.rglob("*.py"))
