"""CloudFormation as the CDK CLI and release tools rely on it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import LocalCloud, wait_until

_POWERTOOLS = "/aws/service/powertools/python/arm64/python3.14/3.37.0"


def _release_template(record: str) -> dict[str, Any]:
    return {
        "Parameters": {"Release": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": record}},
        "Conditions": {"Live": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Release"}, "none"]}]}},
        "Resources": {
            "Always": {"Type": "AWS::SNS::Topic"},
            "Endpoint": {"Type": "AWS::SQS::Queue", "Condition": "Live"},
        },
        "Outputs": {"Url": {"Condition": "Live", "Value": {"Ref": "Endpoint"}}},
    }


def _change(local: LocalCloud, stack: str) -> dict[str, Any]:
    cloudformation = local.client("cloudformation")
    name = f"c-{uuid.uuid4().hex[:6]}"
    cloudformation.create_change_set(
        StackName=stack, ChangeSetName=name, UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": "Release", "UsePreviousValue": True}],
    )  # fmt: skip
    described: dict[str, Any] = wait_until(
        lambda: (
            (found := cloudformation.describe_change_set(StackName=stack, ChangeSetName=name))
            and (found if not found["Status"].endswith(("PENDING", "PROGRESS")) else None)
        )
    )
    return described


def test_a_changed_record_makes_what_its_condition_withheld(local: LocalCloud) -> None:
    ssm, cloudformation = local.client("ssm"), local.client("cloudformation")
    ssm.put_parameter(Name="/release/a", Value="none", Type="String")
    assert local.deploy_stack("release-a", _release_template("/release/a"))["StackStatus"] == "CREATE_COMPLETE"
    unchanged = _change(local, "release-a")
    assert (unchanged["Status"], unchanged["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    assert "didn't contain changes" in unchanged["StatusReason"]

    ssm.put_parameter(Name="/release/a", Value="v1", Type="String", Overwrite=True)
    change = _change(local, "release-a")
    assert [(c["ResourceChange"]["Action"], c["ResourceChange"]["LogicalResourceId"]) for c in change["Changes"]] == [
        ("Add", "Endpoint")
    ]
    assert change["Parameters"] == [{"ParameterKey": "Release", "ParameterValue": "/release/a", "ResolvedValue": "v1"}]
    cloudformation.execute_change_set(StackName="release-a", ChangeSetName=change["ChangeSetName"])
    stack = local.wait_for_stack("release-a")
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert stack["Parameters"][0]["ResolvedValue"] == "v1"
    assert [output["OutputKey"] for output in stack["Outputs"]] == ["Url"]


def test_a_stack_policy_stops_deletion_and_the_stack_rolls_back(local: LocalCloud) -> None:
    keep, gone = {"Type": "AWS::SNS::Topic"}, {"Type": "AWS::SQS::Queue"}
    local.deploy_stack("policy-a", {"Resources": {"Keep": keep, "Guarded": gone}})
    cloudformation = local.client("cloudformation")
    policy = {
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["Update:Replace", "Update:Delete"],
                "Resource": "*",
                "Condition": {"StringEquals": {"ResourceType": ["AWS::SQS::Queue"]}},
            },
        ]
    }
    cloudformation.set_stack_policy(StackName="policy-a", StackPolicyBody=json.dumps(policy))
    stack = local.deploy_stack("policy-a", {"Resources": {"Keep": keep}})
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    resources = cloudformation.describe_stack_resources(StackName="policy-a")["StackResources"]
    assert {r["LogicalResourceId"] for r in resources} == {"Keep", "Guarded"}
    reasons = [
        e.get("ResourceStatusReason", "")
        for e in cloudformation.describe_stack_events(StackName="policy-a")["StackEvents"]
    ]
    assert any("Action denied by stack policy" in reason and "Update:Delete" in reason for reason in reasons)

    override = json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"}]})
    cloudformation.update_stack(
        StackName="policy-a",
        TemplateBody=json.dumps({"Resources": {"Keep": keep}}),
        StackPolicyDuringUpdateBody=override,
    )
    assert local.wait_for_stack("policy-a")["StackStatus"] == "UPDATE_COMPLETE"
    assert (
        local.deploy_stack("policy-a", {"Resources": {"Keep": keep, "Guarded": gone}})["StackStatus"]
        == "UPDATE_COMPLETE"
    )
    assert local.deploy_stack("policy-a", {"Resources": {"Keep": keep}})["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"


def test_scaling_targets_and_policies_are_made_updated_and_deleted(local: LocalCloud) -> None:
    def template(most: int) -> dict[str, Any]:
        target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": "endpoint/e/variant/AllTraffic",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "MinCapacity": "1",
            "MaxCapacity": most,
        }
        tracking = {
            "TargetValue": "70",
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        }
        policy = {
            "PolicyName": "p",
            "PolicyType": "TargetTrackingScaling",
            "ScalingTargetId": {"Ref": "Target"},
            "TargetTrackingScalingPolicyConfiguration": tracking,
        }
        return {
            "Resources": {
                "Target": {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": target},
                "Policy": {"Type": "AWS::ApplicationAutoScaling::ScalingPolicy", "Properties": policy},
            }
        }

    scaling = local.client("application-autoscaling")
    assert local.deploy_stack("scaling", template(2))["StackStatus"] == "CREATE_COMPLETE"
    arn = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"][0]["ScalableTargetARN"]
    assert local.deploy_stack("scaling", template(3))["StackStatus"] == "UPDATE_COMPLETE"
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MaxCapacity"], target["ScalableTargetARN"]) == (3, arn)
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 70.0
    cloudwatch = local.client("cloudwatch")
    prefix = f"TargetTracking-{target['ResourceId']}-"
    alarms = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]}
    assert alarms.keys() == {alarm["AlarmName"] for alarm in policy["Alarms"]}
    assert {(alarm["ComparisonOperator"], alarm["Threshold"]) for alarm in alarms.values()} == {
        ("GreaterThanThreshold", 70.0),
        ("LessThanThreshold", 63.0),
    }
    local.client("cloudformation").delete_stack(StackName="scaling")
    wait_until(lambda: not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"])
    assert not cloudwatch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    with pytest.raises(ClientError, match="does not support ListTagsForResource"):
        scaling.list_tags_for_resource(ResourceARN=arn)


def test_a_buckets_key_is_reported_as_the_template_gives_it(local: LocalCloud) -> None:
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Fn::GetAtt": ["Key", "Arn"]}}
    encryption = {
        "ServerSideEncryptionConfiguration": [{"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": default}]
    }
    template = {
        "Resources": {
            "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*",
                 "Resource": "*"}]}}},
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketEncryption": encryption}},
        },
        "Outputs": {"Bucket": {"Value": {"Ref": "Bucket"}}, "Key": {"Value": {"Fn::GetAtt": ["Key", "Arn"]}}},
    }  # fmt: skip
    outputs = {o["OutputKey"]: o["OutputValue"] for o in local.deploy_stack("encrypted", template)["Outputs"]}
    s3 = local.client("s3")
    (rule,) = s3.get_bucket_encryption(Bucket=outputs["Bucket"])["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == outputs["Key"]
    assert rule["BucketKeyEnabled"]
    # As the CDK CLI uploads: KMS asked for, the key left to the bucket.
    stored = s3.put_object(Bucket=outputs["Bucket"], Key="k", Body=b"1", ServerSideEncryption="aws:kms")
    assert stored["SSEKMSKeyId"] == outputs["Key"]


def test_an_alarm_on_metric_math_is_judged_and_what_is_not_supported_is_refused(local: LocalCloud) -> None:
    runs = {"MetricStat": {"Metric": {"Namespace": "App", "MetricName": "runs"}, "Period": 60, "Stat": "Sum"}}
    alarm: dict[str, Any] = {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": "heartbeat-a",
            "Metrics": [
                {"Id": "runs", **runs, "ReturnData": False},
                {"Id": "alive", "Expression": "FILL(runs, 0)", "ReturnData": True},
            ],
            "ComparisonOperator": "LessThanThreshold",
            "Threshold": 1,
            "EvaluationPeriods": 2,
        },
    }
    assert local.deploy_stack("math-a", {"Resources": {"Heartbeat": alarm}})["StackStatus"] == "CREATE_COMPLETE"

    def heartbeat() -> dict[str, Any]:
        found = local.client("cloudwatch").describe_alarms(AlarmNames=["heartbeat-a"])["MetricAlarms"]
        return dict(found[0])

    assert wait_until(lambda: heartbeat()["StateValue"] == "ALARM", 40), "nothing ran in two minutes"
    found = heartbeat()
    assert [query["Id"] for query in found["Metrics"]] == ["runs", "alive"]
    assert "MetricName" not in found
    properties = alarm["Properties"]
    foreign = {"Id": "alive", "Expression": "RATE(runs)", "ReturnData": True}
    for name, changed in (("both", {"MetricName": "a", "Namespace": "A"}), ("rate", {"Metrics": [foreign]})):
        resources = {"Heartbeat": {**alarm, "Properties": {**properties, "AlarmName": name, **changed}}}
        assert local.deploy_stack(f"math-{name}", {"Resources": resources})["StackStatus"] == "ROLLBACK_COMPLETE"


def test_powertools_layer_resolves_by_awss_public_parameter(local: LocalCloud) -> None:
    code = "from aws_lambda_powertools import Logger\ndef handler(event, context):\n    return Logger().service\n"
    role = local.create_role([], service="lambda.amazonaws.com")
    function = {
        "Runtime": "python3.14",
        "Architectures": ["arm64"],
        "Handler": "index.handler",
        "Role": role,
        "Code": {"ZipFile": code},
        "Layers": [{"Ref": "Layer"}],
        "Environment": {"Variables": {"POWERTOOLS_SERVICE_NAME": "here"}},
    }
    template = {
        "Parameters": {"Layer": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": _POWERTOOLS}},
        "Resources": {"Function": {"Type": "AWS::Lambda::Function", "Properties": function}},
        "Outputs": {"Name": {"Value": {"Ref": "Function"}}},
    }
    (output,) = local.deploy_stack("layered", template)["Outputs"]
    reply = local.client("lambda").invoke(FunctionName=output["OutputValue"])
    assert json.loads(reply["Payload"].read()) == "here"


def test_conditions_may_use_every_function_that_cloudformation_allows(local: LocalCloud) -> None:
    template = {
        "Parameters": {"Policies": {"Type": "CommaDelimitedList", "Default": ""}, "Record": {"Type": "String"}},
        "Mappings": {"Stages": {"us-east-1": {"stage": "home"}}},
        "Conditions": {
            "Given": {"Fn::Not": [{"Fn::Equals": ["", {"Fn::Join": ["", {"Ref": "Policies"}]}]}]},
            "Home": {"Fn::Equals": [{"Fn::FindInMap": ["Stages", {"Ref": "AWS::Region"}, "stage"]}, "home"]},
            "Second": {"Fn::Equals": [{"Fn::Select": [1, {"Fn::Split": ["|", {"Ref": "Record"}]}]}, "b"]},
            "Both": {"Fn::And": [{"Condition": "Home"}, {"Condition": "Second"}]},
        },
        "Resources": {
            "Never": {"Type": "AWS::SNS::Topic", "Condition": "Given"},
            "Always": {"Type": "AWS::SNS::Topic", "Condition": "Both"},
        },
    }
    local.deploy_stack("conditions", template, Record="a|b")
    found = local.client("cloudformation").describe_stack_resources(StackName="conditions")["StackResources"]
    assert [resource["LogicalResourceId"] for resource in found] == ["Always"]


def test_a_retained_resource_comes_back_with_import_existing_resources(local: LocalCloud) -> None:
    """As after `cdk destroy` and `cdk deploy --import-existing-resources`, on a group that outlived its stack."""
    group: dict[str, Any] = {
        "Type": "AWS::SageMaker::ModelPackageGroup",
        "DeletionPolicy": "Retain",
        "Properties": {"ModelPackageGroupName": "stacks-kept"},
    }
    template = {"Resources": {"Group": group}, "Outputs": {"Group": {"Value": {"Ref": "Group"}}}}
    cloudformation, sagemaker = local.client("cloudformation"), local.client("sagemaker")
    arn = local.deploy_stack("keeper", template)["Outputs"][0]["OutputValue"]
    request = {"TemplateBody": json.dumps(template), "ChangeSetType": "CREATE", "ImportExistingResources": True}
    taken = cloudformation.create_change_set(StackName="thief", ChangeSetName="c", **request)["Id"]
    assert "already exists in stack" in cloudformation.describe_change_set(ChangeSetName=taken)["StatusReason"]
    cloudformation.delete_stack(StackName="keeper")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="keeper", WaiterConfig={"Delay": 1})
    change_set = cloudformation.create_change_set(StackName="keeper", ChangeSetName="c", **request)["Id"]
    (change,) = cloudformation.describe_change_set(ChangeSetName=change_set)["Changes"]
    assert change["ResourceChange"]["Action"] == "Import"
    cloudformation.execute_change_set(ChangeSetName=change_set)
    stack = local.wait_for_stack("keeper")
    assert (stack["StackStatus"], stack["Outputs"][0]["OutputValue"]) == ("CREATE_COMPLETE", arn)
    template["Resources"]["Group"]["DeletionPolicy"] = "Delete"
    local.deploy_stack("keeper", template)
    cloudformation.delete_stack(StackName="keeper")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="keeper", WaiterConfig={"Delay": 1})
    assert "stacks-kept" not in str(sagemaker.list_model_package_groups())


def test_a_stack_is_described_with_the_role_that_is_associated_with_it(local: LocalCloud) -> None:
    role = local.create_role([{"Effect": "Allow", "Action": "sns:*", "Resource": "*"}], "cloudformation.amazonaws.com")
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    cloudformation = local.client("cloudformation")
    for name, options in (("with-role", {"RoleARN": role}), ("without-role", {})):
        cloudformation.create_stack(StackName=name, TemplateBody=template, **options)
        local.wait_for_stack(name)
    roles = {stack["StackName"]: stack.get("RoleARN") for stack in cloudformation.describe_stacks()["Stacks"]}
    assert (roles["with-role"], roles["without-role"]) == (role, None)
