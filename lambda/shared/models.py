"""Which models a stage has: those with a release record, so that a further model changes no function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

    from shared.environment import StageEnvironment


def released_models(ssm: SSMClient, environment: StageEnvironment) -> list[str]:
    """Return the models that have a release record in this stage, by name."""
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=f"/{environment.app}", Recursive=True)
    names = [parameter["Name"].split("/") for page in pages for parameter in page["Parameters"]]
    return sorted(name[2] for name in names if len(name) == 5 and name[3:] == [environment.stage, "release"])
