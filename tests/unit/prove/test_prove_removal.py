"""A proof deletes what is its own, and says by name what is left."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from evergreen.prove import inventory, removal
from evergreen.prove.waiting import StepError
from tests.unit.prove.conftest import Scripted


def versions(*keys: str) -> dict[str, Any]:
    return {"Versions": [{"Key": key, "VersionId": "1"} for key in keys]}


def missing(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "NotFoundException", "Message": "gone"}}, operation)


@pytest.fixture
def empty(proof: Scripted, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Return a proof whose account has no keys and no stacks."""
    proof.script("cloudformation", describe_stacks=lambda **_: {"Stacks": []})
    proof.script("kms", list_keys=lambda: {"Keys": []})
    proof.script("resourcegroupstaggingapi", get_resources=lambda **_: {"ResourceTagMappingList": []})
    monkeypatch.setattr(inventory, "holds", lambda _: iter(()))
    monkeypatch.setattr(removal, "remove", lambda _: None)
    return proof


def test_an_asset_that_another_stack_uses_stays(proof: Scripted) -> None:
    proof.remember(assets=[{"Bucket": "assets", "Key": "aaa.zip"}, {"Bucket": "assets", "Key": "bbb.zip"}])
    deleted: list[str] = []
    proof.script(
        "cloudformation",
        describe_stacks=lambda **_: {"Stacks": [{"StackName": "evergreen-platform-prod"}]},
        get_template=lambda **_: {"TemplateBody": {"Code": {"S3Key": "aaa.zip"}}},
    )
    proof.script(
        "s3",
        list_object_versions=lambda Bucket, Prefix: versions(Prefix),
        delete_objects=lambda Bucket, Delete: deleted.extend(one["Key"] for one in Delete["Objects"]),
    )
    assert list(removal._delete_assets(proof)) == ["bbb.zip"]
    assert deleted == ["bbb.zip"]


def test_a_bucket_that_fills_again_is_emptied_again(proof: Scripted) -> None:
    left = [["a", "b"], ["late"], []]
    name = f"{proof.state.name}-platform-prod-accesslogs"

    def delete_bucket(Bucket: str) -> None:
        left.pop(0)
        if left[0]:
            raise ClientError({"Error": {"Code": "BucketNotEmpty", "Message": ""}}, "DeleteBucket")

    proof.script(
        "s3",
        list_buckets=lambda: {"Buckets": [{"Name": name}, {"Name": "evergreen-platform-prod-data"}]},
        list_object_versions=lambda **_: versions(*left[0]),
        delete_objects=lambda **_: None,
        delete_bucket=delete_bucket,
    )
    assert list(removal._delete_buckets(proof)) == [name]
    assert left == [[]]


def test_only_keys_of_the_proof_are_scheduled_for_deletion(proof: Scripted) -> None:
    described = {
        "own": f"Data, artifacts, ledger, queues, logs and endpoints of {proof.state.name}",
        "others": "Data, artifacts, ledger, queues, logs and endpoints of evergreen",
    }
    kms = proof.script(
        "kms",
        list_keys=lambda: {"Keys": [{"KeyId": key} for key in described]},
        describe_key=lambda KeyId: {"KeyMetadata": {"Description": described[KeyId], "KeyState": "Enabled"}},
        schedule_key_deletion=lambda **_: None,
    )
    assert list(removal._delete_keys(proof)) == ["own"]
    assert [call for call in kms.calls if call[0] == "schedule_key_deletion"] == [
        ("schedule_key_deletion", {"KeyId": "own", "PendingWindowInDays": 7})
    ]


def test_what_is_left_is_named(empty: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = f"{empty.state.name}-platform-prod-data"
    monkeypatch.setattr(inventory, "holds", lambda _: iter([("bucket", bucket)]))
    with pytest.raises(StepError, match=f"bucket {bucket}"):
        removal.verify(empty)
    assert empty.state.rows["nothing-left"] == {"seen": f"left: bucket {bucket}", "verdict": "did not hold"}


def test_a_key_that_awaits_its_deletion_is_named_and_not_left(empty: Scripted) -> None:
    empty.remember(keys=["1234"])
    arn = "arn:aws:kms:eu-west-1:123456789012:key/1234"
    empty.script("kms", describe_key=lambda **_: {"KeyMetadata": {"KeyState": "PendingDeletion"}})
    empty.script(
        "resourcegroupstaggingapi", get_resources=lambda **_: {"ResourceTagMappingList": [{"ResourceARN": arn}]}
    )
    removal.verify(empty)
    row = empty.state.rows["nothing-left"]
    assert row["verdict"] == "held"
    assert "key 1234 is deleted in 7 days" in row["seen"]


def test_lists_that_lag_behind_a_deletion_are_read_again(empty: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    lagging = iter([[("role", "x")], [("role", "x")], []])
    monkeypatch.setattr(inventory, "holds", lambda _: iter(next(lagging)))
    removal.verify(empty)
    assert empty.state.rows["nothing-left"]["verdict"] == "held"


def test_what_appears_late_is_deleted(empty: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [("log group", f"/aws/lambda/{empty.state.name}")]
    monkeypatch.setattr(inventory, "holds", lambda _: iter(there))
    monkeypatch.setattr(removal, "remove", lambda _: there.clear())
    removal.verify(empty)
    assert empty.state.rows["nothing-left"]["verdict"] == "held"


def test_a_listing_counts_names_that_contain_the_proofs(proof: Scripted) -> None:
    own = f"{proof.state.name}-platform-prod-role"
    proof.script("iam", list_roles=lambda: {"Roles": [{"RoleName": own}, {"RoleName": "evergreen-platform-prod-role"}]})
    (listing,) = [one for one in inventory.LISTINGS if one.kind == "role"]
    assert inventory.names(proof, listing) == [own]
