"""KMS decides on every use of a key, as on AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import ACCOUNT, REGION, LocalCloud, wait_until

ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
DELEGATED = {"Effect": "Allow", "Principal": ROOT, "Action": "kms:*", "Resource": "*"}


def _key(local: LocalCloud, *statements: Mapping[str, Any], delegated: bool = True) -> str:
    policy = {"Version": "2012-10-17", "Statement": [*([DELEGATED] if delegated else []), *statements]}
    return str(local.client("kms").create_key(Policy=json.dumps(policy))["KeyMetadata"]["Arn"])


def _allow(action: str | list[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def _refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return str(raised.value.response["Error"]["Code"]), str(raised.value.response["Error"]["Message"])


def _bucket(local: LocalCloud, name: str, key: str) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket=name)
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rules = [{"ApplyServerSideEncryptionByDefault": default}]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})


def test_objects_need_the_key_for_writing_and_reading(local: LocalCloud) -> None:
    key = _key(local)
    _bucket(local, "keys-objects", key)
    local.client("s3").put_object(Bucket="keys-objects", Key="k", Body=b"1")
    everything = _allow("s3:*")
    without = local.client_as("s3", local.create_role([everything]))
    code, message = _refused(without.get_object, Bucket="keys-objects", Key="k")
    assert code == "AccessDenied"
    assert "kms:Decrypt" in message
    assert key in message
    assert "kms:GenerateDataKey" in _refused(without.put_object, Bucket="keys-objects", Key="n", Body=b"")[1]
    copy = {"Bucket": "keys-objects", "Key": "c", "CopySource": "keys-objects/k"}
    assert "kms:Decrypt" in _refused(without.copy_object, **copy)[1]
    start = {"Bucket": "keys-objects", "Key": "m"}
    assert "kms:GenerateDataKey" in _refused(without.create_multipart_upload, **start)[1]
    assert without.head_object(Bucket="keys-objects", Key="k")["SSEKMSKeyId"] == key
    reader = local.client_as("s3", local.create_role([everything, _allow("kms:Decrypt", key)]))
    assert reader.get_object(Bucket="keys-objects", Key="k")["Body"].read() == b"1"


def test_conditions_on_service_and_encryption_context_are_kept(local: LocalCloud) -> None:
    key = _key(local)
    _bucket(local, "keys-conditions", key)
    for name in ("open/k", "closed/k"):
        local.client("s3").put_object(Bucket="keys-conditions", Key=name, Body=b"1")
    context = {"StringLike": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::keys-conditions/open/*"}}
    through = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
    role = local.create_role([_allow("s3:*"), _allow("kms:Decrypt", key, Condition={**context, **through})])
    s3 = local.client_as("s3", role)
    assert s3.get_object(Bucket="keys-conditions", Key="open/k")["Body"].read() == b"1"
    assert _refused(s3.get_object, Bucket="keys-conditions", Key="closed/k")[0] == "AccessDenied"
    secret = local.client("kms").encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert _refused(local.client_as("kms", role).decrypt, CiphertextBlob=secret)[0] == "AccessDeniedException"


def test_without_delegation_only_the_key_policy_and_grants_count(local: LocalCloud) -> None:
    role = local.create_role([_allow("kms:*"), _allow("s3:*")])
    key = _key(local, delegated=False)
    assert _refused(local.client("kms").describe_key, KeyId=key)[0] == "AccessDeniedException"  # root too
    kms = local.client_as("kms", role)
    assert _refused(kms.encrypt, KeyId=key, Plaintext=b"x")[0] == "AccessDeniedException"
    named = {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "kms:*", "Resource": "*"}
    own = _key(local, named, delegated=False)
    other = local.create_role([])
    constraint = {"EncryptionContextSubset": {"of": "a"}}
    grant = {"KeyId": own, "GranteePrincipal": other, "Operations": ["Encrypt", "Decrypt"], "Constraints": constraint}
    kms.create_grant(**grant)
    granted = local.client_as("kms", other)
    assert granted.encrypt(KeyId=own, Plaintext=b"x", EncryptionContext={"of": "a"})["CiphertextBlob"]
    assert _refused(granted.encrypt, KeyId=own, Plaintext=b"x")[0] == "AccessDeniedException"
    assert _refused(granted.generate_data_key, KeyId=own, KeySpec="AES_256")[0] == "AccessDeniedException"


def test_a_key_that_is_disabled_or_pending_deletion_refuses_everybody(local: LocalCloud) -> None:
    key = _key(local)
    _bucket(local, "keys-states", key)
    s3, kms, sqs, sns = (local.client(name) for name in ("s3", "kms", "sqs", "sns"))
    s3.put_object(Bucket="keys-states", Key="k", Body=b"1")
    queue = sqs.create_queue(QueueName="keys-states", Attributes={"KmsMasterKeyId": key})["QueueUrl"]
    topic = sns.create_topic(Name="keys-states", Attributes={"KmsMasterKeyId": key})["TopicArn"]
    kms.disable_key(KeyId=key)
    assert _refused(s3.get_object, Bucket="keys-states", Key="k")[0] == "KMS.DisabledException"
    assert _refused(sqs.send_message, QueueUrl=queue, MessageBody="x")[0] == "KMS.DisabledException"
    assert _refused(sns.publish, TopicArn=topic, Message="x")[0] == "KMSDisabled"
    kms.enable_key(KeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert _refused(s3.get_object, Bucket="keys-states", Key="k")[0] == "KMS.KMSInvalidStateException"
    assert _refused(sqs.send_message, QueueUrl=queue, MessageBody="x")[0] == "KMS.InvalidStateException"


def test_queues_and_topics_need_the_key(local: LocalCloud) -> None:
    key = _key(local)
    sqs, sns = local.client("sqs"), local.client("sns")
    queue = sqs.create_queue(QueueName="keys-queue", Attributes={"KmsMasterKeyId": key})["QueueUrl"]
    topic = sns.create_topic(Name="keys-topic", Attributes={"KmsMasterKeyId": key})["TopicArn"]
    services = [_allow(["sqs:*", "sns:*"])]
    without, reader = local.create_role(services), local.create_role([*services, _allow("kms:Decrypt", key)])
    for role in (without, reader):
        code, message = _refused(local.client_as("sqs", role).send_message, QueueUrl=queue, MessageBody="x")
        assert (code, "kms:GenerateDataKey" in message) == ("KMS.AccessDeniedException", True)
        assert _refused(local.client_as("sns", role).publish, TopicArn=topic, Message="x")[0] == "KMSAccessDenied"
    assert _refused(local.client_as("sqs", without).receive_message, QueueUrl=queue)[0] == "KMS.AccessDeniedException"
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    assert local.client_as("sqs", reader).receive_message(QueueUrl=queue)["Messages"]


def _service(name: str, **more: Any) -> dict[str, Any]:
    principal = {"Service": f"{name}.amazonaws.com"}
    return _allow(["kms:GenerateDataKey*", "kms:Decrypt"], Principal=principal, **more)


def test_services_deliver_only_where_the_key_admits_them(local: LocalCloud) -> None:
    """EventBridge, S3, CloudWatch and SNS deliver as themselves: only the key policy can allow it."""
    sqs, sns, events, s3 = (local.client(name) for name in ("sqs", "sns", "events", "s3"))
    dead, dead_arn = local.create_queue()
    closed, admitted = _key(local), _key(local, *[_service(name) for name in ("events", "s3", "sns", "cloudwatch")])
    urls, arns, topics = {}, {}, {}
    for name, key in (("closed", closed), ("open", admitted)):
        urls[name], arns[name] = local.create_queue()
        policy = {"Version": "2012-10-17", "Statement": [_allow("sqs:SendMessage", arns[name], Principal="*")]}
        attributes = {"KmsMasterKeyId": key, "Policy": json.dumps(policy)}
        sqs.set_queue_attributes(QueueUrl=urls[name], Attributes=attributes)
        topics[name] = sns.create_topic(Name=f"keys-{name}", Attributes={"KmsMasterKeyId": key})["TopicArn"]
        local.create_rule({"source": [f"of.{name}"]}, {"Arn": arns[name], "DeadLetterConfig": {"Arn": dead_arn}})
        events.put_events(Entries=[{"Source": f"of.{name}", "DetailType": "d", "Detail": "{}"}])
    for topic in topics.values():
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns["open"])
    attributes = local.receive_message(dead)["MessageAttributes"]
    assert attributes["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"
    assert "kms:GenerateDataKey" in attributes["ERROR_MESSAGE"]["StringValue"]
    assert json.loads(local.receive_message(urls["open"])["Body"])["source"] == "of.open"
    s3.create_bucket(Bucket="keys-notify")
    for name in ("closed", "open"):
        wanted = {"QueueConfigurations": [{"QueueArn": arns[name], "Events": ["s3:ObjectCreated:*"]}]}
        request = {"Bucket": "keys-notify", "NotificationConfiguration": wanted}
        if name == "closed":
            assert "Unable to validate" in _refused(s3.put_bucket_notification_configuration, **request)[1]
        else:
            s3.put_bucket_notification_configuration(**request)
    for name in ("closed", "open"):
        alarm = {"AlarmName": f"keys-{name}", "Namespace": "n", "MetricName": "m", "Period": 60, "Threshold": 1.0}
        alarm |= {"EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold", "Statistic": "Sum"}
        local.client("cloudwatch").put_metric_alarm(**alarm, AlarmActions=[topics[name]])
        local.client("cloudwatch").set_alarm_state(AlarmName=f"keys-{name}", StateValue="ALARM", StateReason="test")
    told = []

    def alarm_arrives() -> bool:
        told.append(local.receive_message(urls["open"])["Body"])
        return "keys-open" in told[-1]

    wait_until(alarm_arrives)
    assert not any("keys-closed" in body for body in told)


def test_tables_log_groups_functions_and_parameters_need_the_key(local: LocalCloud) -> None:
    key = _key(local)
    table = {
        "TableName": "keys-table",
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "SSESpecification": {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    }
    role = local.create_role([_allow(["dynamodb:*", "logs:*", "lambda:*", "ssm:*", "iam:PassRole"])])
    dynamodb = local.client_as("dynamodb", role)
    assert "kms:CreateGrant" in _refused(dynamodb.create_table, **table)[1]
    local.client("dynamodb").create_table(**table)
    item = {"TableName": "keys-table", "Key": {"k": {"S": "x"}}}
    assert "kms:Decrypt" in _refused(dynamodb.get_item, **item)[1]
    transaction = {"TransactItems": [{"Get": item}]}
    assert "kms:Decrypt" in _refused(dynamodb.transact_get_items, **transaction)[1]
    logs = local.client("logs")
    code, message = _refused(logs.create_log_group, logGroupName="keys-group", kmsKeyId=key)
    assert (code, "is not allowed to be used" in message) == ("InvalidParameterException", True)
    context = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:keys-*"}}
    admits = _allow(["kms:*"], Principal={"Service": f"logs.{REGION}.amazonaws.com"}, Condition=context)
    logs.create_log_group(logGroupName="keys-group", kmsKeyId=_key(local, admits))
    function = local.create_role([], service="lambda.amazonaws.com")
    settings: dict[str, Any] = {"KMSKeyArn": key, "Environment": {"Variables": {"a": "b"}}}
    made = {"FunctionName": "keys-f", "Role": function, "Handler": "index.handler", "Runtime": "python3.14"}
    call = local.client_as("lambda", role).create_function
    assert (
        "invalid for CreateGrant" in _refused(call, Code={"ZipFile": b"PK\x05\x06" + b"\0" * 18}, **made, **settings)[1]
    )
    parameter = {"Name": "/keys/p", "Value": "v", "Type": "SecureString", "KeyId": key}
    assert "kms:Encrypt" in _refused(local.client_as("ssm", role).put_parameter, **parameter)[1]
    local.client("ssm").put_parameter(**parameter)
    reading = {"Name": "/keys/p", "WithDecryption": True}
    assert "kms:Decrypt" in _refused(local.client_as("ssm", role).get_parameter, **reading)[1]


def test_a_volume_with_a_key_needs_a_grant_by_the_caller_or_the_role(local: LocalCloud) -> None:
    key = _key(local)
    for_service = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    plain = local.create_role([], service="sagemaker.amazonaws.com")
    able = local.create_role([_allow("kms:CreateGrant", key, Condition=for_service)], service="sagemaker.amazonaws.com")
    caller = local.client_as("sagemaker", local.create_role([_allow(["sagemaker:*", "iam:PassRole"])]))

    def request(role: str) -> dict[str, Any]:
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1, "VolumeKmsKeyId": key}
        return {
            "ProcessingJobName": f"keys-{role.rpartition('/')[2]}",
            "RoleArn": role,
            "AppSpecification": {"ImageUri": "any/image:1", "ContainerEntrypoint": ["true"]},
            "ProcessingResources": {"ClusterConfig": cluster},
        }

    code, message = _refused(caller.create_processing_job, **request(plain))
    assert (code, "kms:CreateGrant" in message) == ("AccessDeniedException", True)
    caller.create_processing_job(**request(able))
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    config = {"EndpointConfigName": "keys", "ProductionVariants": [variant], "KmsKeyId": key}
    assert "kms:CreateGrant" in _refused(caller.create_endpoint_config, **config)[1]


def _job(local: LocalCloud, name: str, role: str, **changes: Any) -> str:
    """Run a processing job that writes an output, and return its failure reason, or an empty text."""
    write = "echo 1 > /opt/ml/processing/out/x && mkdir -p /opt/ml/output/metrics/cloudwatch && echo "
    metric = {"MetricName": "m", "Value": 1, "Namespace": "aws/sagemaker/Endpoints/data-metrics"}
    command = f"{write} '{json.dumps(metric)}' > /opt/ml/output/metrics/cloudwatch/m.jsonl"
    target = {"S3Uri": "s3://keys-jobs/out", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob"}
    output: dict[str, Any] = {"Outputs": [{"OutputName": "out", "S3Output": target}]}
    key, image = changes.pop("key", None), changes.pop("image", "any/image:1")
    sagemaker = local.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=role,
        AppSpecification={"ImageUri": image, "ContainerEntrypoint": ["sh", "-c", command]},
        ProcessingOutputConfig=output | ({"KmsKeyId": key} if key else {}),
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
    )

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = sagemaker.describe_processing_job(ProcessingJobName=name)
        return None if job["ProcessingJobStatus"] in ("InProgress", "Stopping") else job

    return str(wait_until(ended, 60).get("FailureReason", ""))


def test_jobs_need_the_key_the_image_and_the_namespace_of_their_metrics(local: LocalCloud) -> None:
    """Without `kms:Encrypt`, ECR's actions or `cloudwatch:PutMetricData` in the namespace a job fails, as on AWS."""
    key = _key(local)
    local.client("s3").create_bucket(Bucket="keys-jobs")
    image = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-groundtruth-merger:latest"
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    repository = "arn:aws:ecr:us-east-1:156813124566:repository/sagemaker-model-monitor-groundtruth-merger"
    namespaces = ["/aws/sagemaker/*", "aws/sagemaker/*"]
    conditions = [{"StringLike": {"cloudwatch:namespace": namespaces[:count]}} for count in (1, 2)]
    base = [_allow("s3:*"), _allow("ecr:GetAuthorizationToken"), _allow(["kms:GenerateDataKey", "kms:Decrypt"], key)]
    metrics = [_allow("cloudwatch:PutMetricData", Condition=condition) for condition in conditions]
    enough = [*base, metrics[1], _allow("kms:Encrypt", key), _allow(pull, repository)]
    role = local.create_role(enough, service="sagemaker.amazonaws.com")
    assert _job(local, "keys-all", role, key=key, image=image) == ""
    assert local.client("s3").head_object(Bucket="keys-jobs", Key="out/x")["SSEKMSKeyId"] == key
    lacking = {
        "kms:Encrypt": [*base, metrics[1], _allow(pull, repository)],
        "ecr:BatchGetImage": [*base, metrics[1], _allow("kms:Encrypt", key), _allow([pull[0], pull[2]], repository)],
        "cloudwatch:PutMetricData": [*base, metrics[0], _allow("kms:Encrypt", key), _allow(pull, repository)],
    }
    for number, (action, statements) in enumerate(lacking.items()):
        role = local.create_role(statements, service="sagemaker.amazonaws.com")
        assert action in _job(local, f"keys-lacks-{number}", role, key=key, image=image)
