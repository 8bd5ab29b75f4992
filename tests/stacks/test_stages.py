"""Three stages in three accounts: each may read what it needs of the others, under the name of one role."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from configuration import Configuration

DEV, STAGING, PROD = "111111111111", "222222222222", "333333333333"
ACCOUNTS = {"dev": DEV, "staging": STAGING, "prod": PROD}
READS_REGISTRY = {
    "sagemaker:DescribeModelPackageGroup",
    "sagemaker:DescribeModelPackage",
    "sagemaker:ListModelPackages",
}
Staged = Callable[[dict[str, str | None]], Configuration]


@pytest.fixture(scope="module")
def accounts(staged: Staged, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the templates by stack."""
    from stacks import build

    outdir = tmp_path_factory.mktemp("accounts")
    # The synth fails on any finding of cdk-nag.
    build(staged(dict(ACCOUNTS)), str(outdir)).synth()
    suffix = ".template.json"
    return {path.name.removesuffix(suffix): json.loads(path.read_text()) for path in outdir.glob(f"*{suffix}")}


def of(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [resource["Properties"] for resource in template["Resources"].values() if resource["Type"] == kind]


def policies(template: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """Yield the statements of all policies of a kind whose principal is not a service."""
    for resource in of(template, kind):
        document = resource.get("PolicyDocument") or resource["KeyPolicy"]
        for statement in document["Statement"]:
            principal = statement.get("Principal", {})
            if isinstance(principal, dict) and "AWS" in principal:
                yield statement


def admitted(template: dict[str, Any], kind: str, account: str) -> list[dict[str, Any]]:
    return [one for one in policies(template, kind) if account in json.dumps(one["Principal"])]


def actions(statement: dict[str, Any]) -> set[str]:
    action = statement["Action"]
    return {action} if isinstance(action, str) else set(action)


def role(account: str, name: str) -> dict[str, Any]:
    return {"aws:PrincipalArn": f"arn:aws:iam::{account}:role/{name}"}


def test_only_the_hub_trains_and_archives_and_every_stage_serves(accounts: dict[str, Any]) -> None:
    assert [name for name in accounts if "training" in name] == ["evergreen-training-flight-delays"]
    assert {name for name in accounts if "serving" in name} == {
        f"evergreen-serving-flight-delays-{s}" for s in ACCOUNTS
    }
    for stage in ACCOUNTS:
        handlers = {one["Handler"] for one in of(accounts[f"evergreen-platform-{stage}"], "AWS::Lambda::Function")}
        assert {"release.handler.handler", "monitor.handler.handler"} <= handlers
        assert ("retrain.handler.handler" in handlers) == (stage == "prod")
        assert ("archive.handler.handler" in handlers) == (stage == "prod")
        assert ("verify.handler.handler" in handlers) == (stage != "prod")


def test_every_cross_account_statement_names_one_role(accounts: dict[str, Any]) -> None:
    """This covers S3 and KMS; the next test covers the trust of roles."""
    shared = 0
    for stage, account in ACCOUNTS.items():
        template = accounts[f"evergreen-platform-{stage}"]
        for kind in ("AWS::S3::BucketPolicy", "AWS::KMS::Key"):
            for statement in policies(template, kind):
                if account not in json.dumps(statement["Principal"]) and statement["Effect"] == "Allow":
                    shared += 1
                    (arn,) = statement["Condition"]["ArnEquals"].values()
                    assert arn.startswith("arn:aws:iam::") and "*" not in arn
                    assert not [action for action in actions(statement) if "*" in action]
    # dev shares with staging and staging with prod, bucket and key; prod with both, bucket, list and key.
    assert shared == 2 + 2 + 2 * 3


def test_stages_trust_only_the_hubs_build_role(accounts: dict[str, Any]) -> None:
    for stage, account in ACCOUNTS.items():
        for resource in of(accounts[f"evergreen-platform-{stage}"], "AWS::IAM::Role"):
            for statement in resource["AssumeRolePolicyDocument"]["Statement"]:
                if "AWS" not in statement["Principal"]:
                    continue
                if resource["RoleName"] == "evergreen-approver":
                    assert stage == "prod"
                    assert account in json.dumps(statement["Principal"])
                    assert statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"] == [
                        f"arn:aws:iam::{PROD}:role/{prefix}-*" for prefix in ("evergreen", "cdk")
                    ]
                else:
                    assert resource["RoleName"] == f"evergreen-delivery-{stage}"
                    assert statement["Condition"] == {"ArnEquals": role(PROD, "evergreen-delivery-build")}


def test_other_accounts_read_the_registry_and_never_write_it(accounts: dict[str, Any]) -> None:
    (group,) = of(accounts["evergreen-training-flight-delays"], "AWS::SageMaker::ModelPackageGroup")
    statements = group["ModelPackageGroupPolicy"]["Statement"]
    readers = {statement["Condition"]["ArnEquals"]["aws:PrincipalArn"] for statement in statements}
    assert readers == {
        f"arn:aws:iam::{account}:role/evergreen-release-{stage}"
        for stage, account in ACCOUNTS.items()
        if stage != "prod"
    }
    for statement in statements:
        assert set(statement["Action"]) == READS_REGISTRY
        assert statement["Resource"] == [
            f"arn:aws:sagemaker:us-east-1:{PROD}:model-package-group/evergreen-flight-delays",
            f"arn:aws:sagemaker:us-east-1:{PROD}:model-package/evergreen-flight-delays/*",
        ]


def test_each_release_controller_may_read_and_decrypt_registered_artifacts(accounts: dict[str, Any]) -> None:
    hub = accounts["evergreen-platform-prod"]
    for stage in ("dev", "staging"):
        reader = role(ACCOUNTS[stage], f"evergreen-release-{stage}")
        objects, listing = admitted(hub, "AWS::S3::BucketPolicy", ACCOUNTS[stage])
        assert (actions(objects), actions(listing)) == ({"s3:GetObject"}, {"s3:ListBucket"})
        assert {resource["Fn::Join"][1][-1] for resource in objects["Resource"]} == {"/runs/*", "/packages/*"}
        (key,) = admitted(hub, "AWS::KMS::Key", ACCOUNTS[stage])
        assert actions(key) == {"kms:Decrypt"}
        assert key["Condition"]["StringEquals"] == {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
        assert [one["Condition"]["ArnEquals"] for one in (objects, listing, key)] == [reader] * 3


def test_next_stage_may_read_only_verifications(accounts: dict[str, Any]) -> None:
    for stage, following in (("dev", "staging"), ("staging", "prod")):
        template = accounts[f"evergreen-platform-{stage}"]
        (objects,) = admitted(template, "AWS::S3::BucketPolicy", ACCOUNTS[following])
        assert actions(objects) == {"s3:GetObject"}
        assert objects["Resource"]["Fn::Join"][1][-1] == "/releases/*/verified.json"
        assert objects["Condition"]["ArnEquals"] == role(ACCOUNTS[following], f"evergreen-release-{following}")
        (key,) = admitted(template, "AWS::KMS::Key", ACCOUNTS[following])
        assert actions(key) == {"kms:Decrypt"}


def test_release_controllers_own_role_may_read_the_other_stages(accounts: dict[str, Any]) -> None:
    template = accounts["evergreen-platform-staging"]
    (release,) = [one for one in of(template, "AWS::IAM::Role") if one.get("RoleName") == "evergreen-release-staging"]
    assert release["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "lambda.amazonaws.com"}
    text = json.dumps(of(template, "AWS::IAM::Policy"))
    for resource in (
        "arn:aws:s3:::evergreen-platform-prod*/runs/*",
        "arn:aws:s3:::evergreen-platform-prod*/packages/*",
        f"arn:aws:s3:::evergreen-dev-artifacts-{DEV}/releases/*/verified.json",
        f"arn:aws:kms:us-east-1:{PROD}:key/*",
        f"arn:aws:kms:us-east-1:{DEV}:key/*",
        f"arn:aws:sagemaker:us-east-1:{PROD}:model-package/evergreen-*",
    ):
        assert resource in text, resource


def test_only_buckets_that_the_next_stage_reads_have_a_name(accounts: dict[str, Any]) -> None:
    names = {
        bucket["BucketName"]
        for stage in ACCOUNTS
        for bucket in of(accounts[f"evergreen-platform-{stage}"], "AWS::S3::Bucket")
        if "BucketName" in bucket
    }
    assert names == {f"evergreen-dev-artifacts-{DEV}", f"evergreen-staging-artifacts-{STAGING}"}


def test_approvals_are_forwarded_to_every_stage_by_the_hubs_role_only(accounts: dict[str, Any]) -> None:
    rules = [
        rule
        for rule in of(accounts["evergreen-platform-prod"], "AWS::Events::Rule")
        if any("event-bus" in json.dumps(target["Arn"]) for target in rule["Targets"])
    ]
    (rule,) = rules
    assert rule["EventPattern"]["detail-type"] == ["SageMaker Model Package State Change"]
    assert {target["Arn"] for target in rule["Targets"]} == {
        f"arn:aws:events:us-east-1:{account}:event-bus/default" for account in (DEV, STAGING)
    }
    assert all("DeadLetterConfig" in target for target in rule["Targets"])
    for stage in ("dev", "staging"):
        template = accounts[f"evergreen-platform-{stage}"]
        statements = [one["Statement"] for one in of(template, "AWS::Events::EventBusPolicy")]
        (hub,) = [one for one in statements if PROD in one["Principal"]["AWS"]]
        assert hub["Action"] == "events:PutEvents"
        assert hub["Condition"] == {
            "ArnEquals": role(PROD, "evergreen-events-prod"),
            "StringEquals": {"events:source": "aws.sagemaker"},
        }


def test_verifications_are_forwarded_to_the_next_stage(accounts: dict[str, Any]) -> None:
    statements = [one["Statement"] for one in of(accounts["evergreen-platform-prod"], "AWS::Events::EventBusPolicy")]
    (statement,) = statements
    assert statement["Condition"] == {
        "ArnEquals": role(STAGING, "evergreen-events-staging"),
        "StringEquals": {"events:source": "aws.s3"},
    }


def test_release_policy_names_the_previous_stage_and_the_verification(accounts: dict[str, Any]) -> None:
    from shared.release_policy import parse_release_policy

    found = {}
    for stage in ACCOUNTS:
        (parameter,) = of(accounts[f"evergreen-serving-flight-delays-{stage}"], "AWS::SSM::Parameter")
        found[stage] = parse_release_policy(parameter["Value"])
    assert found["dev"].verified_in is None
    assert found["dev"].verify is not None
    assert found["prod"].verify is None
    before = found["prod"].verified_in
    assert before is not None
    assert (before.stage, before.bucket) == ("staging", f"evergreen-staging-artifacts-{STAGING}")
    assert (found["prod"].approval, found["prod"].four_eyes, found["prod"].description_required) == (
        "life-cycle",
        True,
        True,
    )


def test_release_controllers_read_versions_in_the_hub(accounts: dict[str, Any]) -> None:
    for stage in ACCOUNTS:
        functions = of(accounts[f"evergreen-platform-{stage}"], "AWS::Lambda::Function")
        (release,) = [one for one in functions if one["Handler"] == "release.handler.handler"]
        prefix = release["Environment"]["Variables"]["REGISTRY_ARN_PREFIX"]
        assert prefix == f"arn:aws:sagemaker:us-east-1:{PROD}"


def test_stages_of_one_account_share_and_forward_nothing(
    staged: Staged, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from stacks import build

    outdir = tmp_path_factory.mktemp("one_account")
    build(staged({"staging": None, "prod": None}), str(outdir)).synth()
    for stage in ("staging", "prod"):
        template = json.loads((outdir / f"evergreen-platform-{stage}.template.json").read_text())
        assert not of(template, "AWS::Events::EventBusPolicy")
        for statement in [*policies(template, "AWS::S3::BucketPolicy"), *policies(template, "AWS::KMS::Key")]:
            assert "ArnEquals" not in statement.get("Condition", {})
    (parameter,) = of(
        json.loads((outdir / "evergreen-serving-flight-delays-prod.template.json").read_text()), "AWS::SSM::Parameter"
    )
    assert "evergreen-staging-artifacts-" in json.dumps(parameter["Value"])
