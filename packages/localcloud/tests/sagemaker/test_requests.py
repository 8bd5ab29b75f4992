"""Validation of requests and responses by botocore's shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest
from botocore.exceptions import ClientError
from botocore.model import Shape

from localcloud import loopback
from localcloud.patterns import compiled
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.shapes import operation_model, validated


def test_every_broken_constraint_is_reported_as_by_aws(harness: Any) -> None:
    with pytest.raises(ClientError) as caught:
        harness.sagemaker.create_model_package_group(ModelPackageGroupName="-no-")
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert "1 validation error detected: Value '-no-' at 'modelPackageGroupName'" in str(caught.value)
    assert "Member must satisfy regular expression pattern" in str(caught.value)
    with pytest.raises(AwsError, match=r"2 validation errors detected: .*processingJobName.*must not be null"):
        validated(
            "CreateProcessingJob",
            {
                "ProcessingResources": {
                    "ClusterConfig": {"InstanceCount": 0, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
                },
                "AppSpecification": {"ImageUri": "x"},
                "RoleArn": "arn:aws:iam::000000000000:role/r",
            },
        )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"EndpointName": "e", "Color": "red"}, 'Unknown parameter in input: "Color", must be one of: EndpointName'),
        ({"EndpointName": 3}, "NUMBER_VALUE can not be converted to a String"),
        ({"EndpointName": ["e"]}, "Start of list found where not expected"),
        ([], "Start of list found"),
    ],
)
def test_a_request_of_the_wrong_form_is_rejected(request_: Any, message: str) -> None:
    with pytest.raises(AwsError) as caught:
        validated("DescribeEndpoint", request_)
    assert message in caught.value.message


def test_an_unsupported_operation_is_rejected_by_name(harness: Any) -> None:
    with pytest.raises(ClientError, match=r"UnknownOperationException.*CreateDomain") as caught:
        harness.sagemaker.create_domain(DomainName="d", AuthMode="IAM", DefaultUserSettings={})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_body_that_is_not_json_is_rejected(harness: Any) -> None:
    status, _, body = _post(harness, "ListModels", b"{")
    assert status == 400
    assert json.loads(body)["__type"] == "SerializationException"


def test_timestamps_are_epoch_numbers_and_internal_members_are_not_returned(harness: Any) -> None:
    harness.sagemaker.create_model_package_group(ModelPackageGroupName="g")
    status, headers, body = _post(harness, "DescribeModelPackageGroup", b'{"ModelPackageGroupName": "g"}')
    answer = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert isinstance(answer["CreationTime"], float)
    assert "LastVersion" not in answer


def test_the_patterns_of_all_supported_operations_compile(harness: Any) -> None:
    def patterns(shape: Shape | None, seen: set[str]) -> Iterator[str]:
        if shape is None or shape.name in seen:
            return
        seen.add(shape.name)
        if "pattern" in shape.metadata:
            yield shape.metadata["pattern"]
        inner = [*getattr(shape, "members", {}).values()]
        inner += [getattr(shape, name) for name in ("member", "key", "value") if hasattr(shape, name)]
        for one in inner:
            yield from patterns(one, seen)

    seen: set[str] = set()
    found = [
        one for name in harness.control_plane.operations for one in patterns(operation_model(name).input_shape, seen)
    ]
    assert len(found) > 100
    for pattern in found:
        compiled(pattern)


def test_javas_character_classes_match_as_in_java() -> None:
    assert compiled(r"[\p{L}\p{Z}_]*").fullmatch("Grüße an_alle")
    assert not compiled(r"[\p{L}]*").fullmatch("a1")
    assert compiled(r"([\p{L}\-@]*)${1,128}").fullmatch("a-b")


def _post(harness: Any, operation: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    request = Request(harness.url, body, {"X-Amz-Target": f"SageMaker.{operation}"})
    try:
        with loopback.request(request) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()
