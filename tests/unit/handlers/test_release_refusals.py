"""A refusal names its reason in the ledger and in the alert, and deploys nothing.

test_release_aws.py tests how a changed artifact or specification is found.
"""

from __future__ import annotations

import json
from unittest.mock import patch

import pytest

from release import execute
from release.verified_copy import PackageRefused
from tests.unit.handlers.simulated_aws import Cloud, Version, invoke, without_copying

TAMPERED = "s3://b/model.tar.gz has SHA-256 2, registered was 1"
REPOINTED = "its inference specification was changed after registration: 2, was 1"
OWN = "arn:aws:sts::1:assumed-role/approver/bob approved a model of their own"
SILENT = "it was approved without a description, which this stage requires"
EXPIRED = "the pin of version 1 (audit) expired on 2026-11-22"


def stage(**policy: object) -> Cloud:
    """Return a stage in which version 1 is live."""
    cloud = Cloud(policy="{}")
    cloud.packages[1] = Version("Approved", cloud.now)
    invoke(cloud)
    cloud.finish("success")
    invoke(cloud)
    assert cloud.serves == 1
    cloud.policy = json.dumps(policy)
    return cloud


@pytest.mark.parametrize(
    ("policy", "approval", "found", "sentence"),
    [
        ({}, Version("Approved", Cloud().now), TAMPERED, TAMPERED),
        ({}, Version("Approved", Cloud().now), REPOINTED, REPOINTED),
        ({"four_eyes": True}, Version("Approved", Cloud().now, modified_by="bob"), "", OWN),
        ({"description_required": True}, Version("Approved", Cloud().now, description=" "), "", SILENT),
        (
            {"pin": {"version": 1, "until": "2026-11-22", "reason": "audit"}},
            Version("Approved", Cloud().now),
            "",
            EXPIRED,
        ),
    ],
    ids=["tampered", "re-pointed", "by its creator", "without a description", "expired pin"],
)
def test_each_refusal_is_in_ledger_and_alert_and_deploys_nothing(
    policy: dict[str, object], approval: Version, found: str, sentence: str
) -> None:
    with without_copying():
        cloud = stage(**policy)
        record, operations = cloud.record, cloud.stack.operations
        cloud.packages[2] = approval
        copy = patch.object(execute, "copy_release", side_effect=PackageRefused(found)) if found else without_copying()
        with copy:
            for _ in range(3):
                invoke(cloud)
    (alert,) = cloud.alerts
    assert sentence in alert
    assert [row for row in cloud.rows.values() if sentence in row.get("reason", {}).get("S", "")]
    assert (cloud.record, cloud.stack.operations, cloud.serves) == (record, operations, 1)
    assert "lease" not in cloud.rows
    assert ("quarantine#000002" in cloud.rows) == (sentence != EXPIRED)
