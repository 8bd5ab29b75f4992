"""Every request is signed with the secret of its key; the tests send requests as bytes."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import http.client
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from localcloud.ministack_adapter.environment import root_secret
from localcloud.testing import LocalCloud

Sign = Callable[[AWSRequest], None]


def _send(local: LocalCloud, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", local.port, timeout=30)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    content = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, content


def _signed(
    local: LocalCloud,
    service: str,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    key: str,
    secret: str,
) -> dict[str, str]:
    request = AWSRequest(method, f"{local.url}{path}", dict(headers), body)
    auth = S3SigV4Auth if service == "s3" else SigV4Auth
    auth(Credentials(key, secret), service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
_JSON = {"Content-Type": "application/x-amz-json-1.1"}
_CALLS = {
    "query": ("iam", "POST", "/", b"Action=ListUsers&Version=2010-05-08", _FORM),
    "json": ("dynamodb", "POST", "/", b"{}", {**_JSON, "X-Amz-Target": "DynamoDB_20120810.ListTables"}),
    "own json": ("sagemaker", "POST", "/", b"{}", {**_JSON, "X-Amz-Target": "SageMaker.ListModels"}),
    "s3 buckets": ("s3", "GET", "/", b"", {}),
    "s3 object": ("s3", "PUT", "/nothing/x", b"data", {}),
    "invocation": ("sagemaker", "POST", "/endpoints/none/invocations", b"1,2", {"Content-Type": "text/csv"}),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS.keys())
def test_a_wrong_signature_or_key_is_refused(local: LocalCloud, call: Any) -> None:
    service, method, path, body, headers = call
    secret = root_secret(local.state)

    def ask(key: str, secret: str, changed: bytes | None = None) -> tuple[int, str]:
        return _send(
            local, method, path, _signed(local, service, method, path, body, headers, key, secret), changed or body
        )

    status, text = ask("test", secret)
    assert "Signature" not in text, "the right signature passes"
    for wrong in ("test", secret[:-1], "0" * 40):
        status, text = ask("test", wrong)
        assert status in (400, 403), text
        assert (
            "InvalidSignatureException" if service in ("dynamodb", "sagemaker") else "SignatureDoesNotMatch"
        ) in text
    for key in ("AKIANOBODYKNOWSTHIS0", "000000000000", "123456789012", "other"):
        status, text = ask(key, secret)
        assert status in (400, 403), text
        unknown = {"s3": "InvalidAccessKeyId", "iam": "InvalidClientTokenId"}.get(
            service, "UnrecognizedClientException"
        )
        assert unknown in text
    if body:
        status, text = ask("test", secret, body + b" ")
        assert status in (400, 403), "the body is signed"
    status, text = _send(local, method, path, headers, body)
    assert status in (400, 403)
    # Only a signature tells an invocation from a request to S3.
    assert ("AccessDenied" if service == "s3" or "invocations" in path else "MissingAuthenticationToken") in text


def test_a_wrong_signature_is_403_as_on_aws(local: LocalCloud) -> None:
    with pytest.raises(ClientError) as refused:
        local.client("iam", "test", "wrong").list_users()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    with pytest.raises(ClientError) as unknown:
        local.client("sts", "AKIANOBODYKNOWSTHIS0", "x").get_caller_identity()
    assert unknown.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert unknown.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_a_request_of_yesterday_is_refused(local: LocalCloud) -> None:
    body, headers = b"Action=ListUsers&Version=2010-05-08", dict(_FORM)
    request = AWSRequest("POST", f"{local.url}/", headers, body)
    auth = SigV4Auth(Credentials("test", root_secret(local.state)), "iam", "us-east-1")
    old = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=20)
    request.context["timestamp"] = old.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    request.headers["Host"] = urlsplit(local.url).netloc
    text = auth.string_to_sign(request, auth.canonical_request(request))
    scope = f"{old:%Y%m%d}/us-east-1/iam/aws4_request"
    signed = auth.signed_headers(auth.headers_to_sign(request))
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=test/{scope}, SignedHeaders={signed}, Signature={auth.signature(text, request)}"
    )
    status, answer = _send(local, "POST", "/", dict(request.headers.items()), body)
    assert (status, "Signature expired" in answer) == (403, True), answer


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_presigned_urls_are_checked(local: LocalCloud, version: str) -> None:
    bucket = f"signed-{uuid.uuid4().hex[:8]}"
    local.client("s3").create_bucket(Bucket=bucket)

    def url(operation: str, secret: str, key: str = "test", **more: Any) -> str:
        client: Any = boto3.client(
            "s3", endpoint_url=local.url, region_name="us-east-1", aws_access_key_id=key,
            aws_secret_access_key=secret, config=Config(signature_version=version),
        )  # fmt: skip
        made = str(client.generate_presigned_url(operation, {"Bucket": bucket, "Key": "a b+c/d", **more}))
        return made.removeprefix(local.url)

    secret = root_secret(local.state)
    assert _send(local, "PUT", url("put_object", secret), {}, b"content")[0] == 200
    assert _send(local, "GET", url("get_object", secret), {}, b"") == (200, "content")
    for wrong in (url("get_object", "wrong"), url("get_object", secret).replace(bucket, "other")):
        status, text = _send(local, "GET", wrong, {}, b"")
        assert (status, "SignatureDoesNotMatch" in text) == (403, True), text
    status, text = _send(local, "GET", url("get_object", secret, key="AKIANOBODYKNOWSTHIS0"), {}, b"")
    assert status == 403, text
    assert _send(local, "DELETE", url("get_object", secret), {}, b"")[0] == 403, "the method is signed"


def test_streamed_uploads_are_checked(local: LocalCloud) -> None:
    """Send the chunks that Java's SDK and older tools sign one by one, and those that boto3 sends with a checksum."""
    bucket, secret = f"chunks-{uuid.uuid4().hex[:8]}", root_secret(local.state)
    s3 = local.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="checksum", Body=b"x" * 3_000_000, ChecksumAlgorithm="CRC32")
    content, path = b"signed in chunks", f"/{bucket}/chunked"
    streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

    def upload(key_secret: str, chunk_secret: str) -> tuple[int, str]:
        request = AWSRequest("PUT", f"{local.url}{path}", {"x-amz-decoded-content-length": str(len(content))}, b"")
        request.headers["X-Amz-Content-SHA256"] = streaming

        class Streaming(S3SigV4Auth):
            def payload(self, request: Any) -> str:
                return streaming

            def _should_sha256_sign_payload(self, request: Any) -> bool:
                return True

        Streaming(Credentials("test", key_secret), "s3", "us-east-1").add_auth(request)
        headers = dict(request.headers.items())
        headers["X-Amz-Content-SHA256"] = streaming
        stamp = headers["X-Amz-Date"]
        signature = headers["Authorization"].rpartition("=")[2]
        body = b""
        for piece in (content, b""):
            key = f"AWS4{chunk_secret}".encode()
            for part in (stamp[:8], "us-east-1", "s3", "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            empty, own = hashlib.sha256(b"").hexdigest(), hashlib.sha256(piece).hexdigest()
            scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, signature, empty, own])
            signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
            body += f"{len(piece):x};chunk-signature={signature}\r\n".encode() + piece + b"\r\n"
        return _send(local, "PUT", path, headers, body)

    status, text = upload(secret, "wrong")
    assert (status, "SignatureDoesNotMatch" in text) == (403, True), text
    assert upload(secret, secret)[0] == 200
    assert s3.get_object(Bucket=bucket, Key="chunked")["Body"].read() == content


def test_a_session_signs_with_its_own_secret_and_token(local: LocalCloud) -> None:
    role = local.create_role([{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}])
    made = local.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    key, secret, token = made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]
    assert local.client("s3", key, secret, token).list_buckets()["Buckets"] is not None
    for wrong in ((key, "wrong", token), (key, root_secret(local.state), token), (key, secret, "wrong"), (key, secret)):
        with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|InvalidToken|InvalidAccessKeyId"):
            local.client("s3", *wrong).list_buckets()


_CREDENTIALS = (
    "import os\ndef handler(event, context):\n    return {k: os.environ[k] for k in os.environ if k.startswith('AWS_')}"
)


def test_a_functions_credentials_cannot_be_computed(local: LocalCloud) -> None:
    role = local.create_role([], service="lambda.amazonaws.com")
    arn = local.create_function(_CREDENTIALS, role)
    own = json.load(local.client("lambda").invoke(FunctionName=arn)["Payload"])
    assert root_secret(local.state) not in own.values()
    key, secret, token = (own[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    identity = local.client("sts", key, secret, token).get_caller_identity()
    assert role.rpartition("/")[2] in identity["Arn"]
    derived = hashlib.sha256(f"{arn}:{role}".encode()).hexdigest()
    assert key != f"ASIA{derived[:16].upper()}"
    assert secret != hashlib.sha256(f"secret:{derived}".encode()).hexdigest()


def test_a_link_to_code_is_signed(local: LocalCloud) -> None:
    arn = local.create_function("def handler(event, context): pass", local.create_role([], "lambda.amazonaws.com"))
    link = urlsplit(local.client("lambda").get_function(FunctionName=arn)["Code"]["Location"])
    assert _send(local, "GET", f"{link.path}?{link.query}", {}, b"")[0] == 200
    forged = link.query.replace("X-Amz-Signature=", "X-Amz-Signature=0")
    for query in ("", forged, link.query.replace("Expires=", "Expires=9")):
        assert _send(local, "GET", f"{link.path}?{query}", {}, b"")[0] == 403


@pytest.mark.parametrize("path", ["clock", "faults", "push"])
@pytest.mark.parametrize("key", ["", "test", "ü"])
def test_administration_needs_the_roots_secret(local: LocalCloud, path: str, key: str) -> None:
    headers = {"x-localcloud-key": key} if key else {}
    assert _send(local, "POST", f"/_localcloud/{path}", headers, b"{}")[0] == 403
    secret = root_secret(local.state)
    assert _send(local, "POST", f"/_localcloud/{path}", {"x-localcloud-key": secret}, b"{}")[0] != 403


def test_each_state_folder_has_a_secret_that_only_its_user_reads(local: LocalCloud, tmp_path: Path) -> None:
    first, second = root_secret(tmp_path / "a"), root_secret(tmp_path / "b")
    assert len({first, second, root_secret(local.state), "test"}) == 4
    assert first == root_secret(tmp_path / "a")
    assert (tmp_path / "a/root-secret").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["root-secret"]
