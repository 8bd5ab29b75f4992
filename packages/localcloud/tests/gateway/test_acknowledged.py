"""A write is durable when it is acknowledged: the gateway is killed right after the answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from localcloud.testing import LocalCloud, wait_until

pytestmark = pytest.mark.xdist_group("durability")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("acknowledged") / "state") as cloud:
        cloud.client("dynamodb").create_table(
            TableName="table",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        yield cloud


def _kill(cloud: LocalCloud) -> None:
    pid = cloud.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    cloud.up()


def _template(name: str) -> dict[str, Any]:
    return {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": name}}}}


def test_what_was_acknowledged_survives_a_kill_at_once(killed: LocalCloud) -> None:
    table, sqs, ssm, iam = (killed.client(name) for name in ("dynamodb", "sqs", "ssm", "iam"))
    cloudformation = killed.client("cloudformation")
    fifo = sqs.create_queue(QueueName="f.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    queue = sqs.create_queue(QueueName="q")["QueueUrl"]
    for name in ("updated", "deleted"):
        killed.deploy_stack(name, _template("first"))
    sent = {sqs.send_message(QueueUrl=queue, MessageBody=f"old {number}")["MessageId"] for number in range(3)}
    received = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=600)["Messages"][0]

    def put(number: int) -> None:
        table.put_item(TableName="table", Item={"pk": {"S": f"item {number}"}, "n": {"N": "1"}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(40)))
    table.update_item(
        TableName="table",
        Key={"pk": {"S": "item 1"}},
        UpdateExpression="SET n = n + :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    table.delete_item(TableName="table", Key={"pk": {"S": "item 2"}})
    batch = [{"PutRequest": {"Item": {"pk": {"S": f"batch {number}"}, "b": {"B": b"\x00\xff"}}}} for number in range(5)]
    table.batch_write_item(RequestItems={"table": batch})
    put_42 = {"Put": {"TableName": "table", "Item": {"pk": {"S": "item 42"}}}}
    table.transact_write_items(
        TransactItems=[put_42, {"Delete": {"TableName": "table", "Key": {"pk": {"S": "item 3"}}}}]
    )
    ssm.put_parameter(Name="/p", Value="v", Type="String")
    user = iam.create_user(UserName="u")["User"]["UserId"]
    key = iam.create_access_key(UserName="u")["AccessKey"]
    entries = [{"Id": str(number), "MessageBody": f"new {number}"} for number in range(4)]
    sent |= {one["MessageId"] for one in sqs.send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]}
    first = sqs.send_message(QueueUrl=fifo, MessageBody="a", MessageGroupId="g", MessageDeduplicationId="d")
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=received["ReceiptHandle"])
    held = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=600)["Messages"][0]
    cloudformation.update_stack(StackName="updated", TemplateBody=json.dumps(_template("second")))
    cloudformation.delete_stack(StackName="deleted")
    _kill(killed)

    found = {item["pk"]["S"]: item for item in table.scan(TableName="table", ConsistentRead=True)["Items"]}
    assert set(found) == {f"item {n}" for n in {*range(40), 42} - {2, 3}} | {f"batch {n}" for n in range(5)}
    assert found["item 1"]["n"] == {"N": "2"}
    assert found["batch 4"]["b"] == {"B": b"\x00\xff"}
    assert ssm.get_parameter(Name="/p")["Parameter"]["Value"] == "v"
    assert iam.get_user(UserName="u")["User"]["UserId"] == user
    caller = killed.client("sts", key["AccessKeyId"], key["SecretAccessKey"]).get_caller_identity()
    assert caller["UserId"] == user
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=held["ReceiptHandle"])  # the handle is still known
    left = set()
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600).get(
        "Messages"
    ):
        left |= {message["MessageId"] for message in messages}
    assert left == sent - {received["MessageId"], held["MessageId"]}
    again = sqs.send_message(QueueUrl=fifo, MessageBody="a", MessageGroupId="g", MessageDeduplicationId="d")
    assert again["MessageId"] == first["MessageId"], "the deduplication is remembered"
    known = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
    if "deleted" in known:
        wait_until(lambda: "deleted" not in {one["StackName"] for one in cloudformation.describe_stacks()["Stacks"]})
    assert killed.wait_for_stack("updated")["StackStatus"] in ("UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


def test_entries_that_are_saved_are_applied_once(killed: LocalCloud) -> None:
    """Kill twice: what was applied at the first start may not come back after it was deleted."""
    table, sqs = killed.client("dynamodb"), killed.client("sqs")
    queue = sqs.create_queue(QueueName="twice")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="once")
    table.put_item(TableName="table", Item={"pk": {"S": "twice"}})
    _kill(killed)
    message = sqs.receive_message(QueueUrl=queue)["Messages"][0]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    table.delete_item(TableName="table", Key={"pk": {"S": "twice"}})
    _kill(killed)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    assert "Item" not in table.get_item(TableName="table", Key={"pk": {"S": "twice"}})
