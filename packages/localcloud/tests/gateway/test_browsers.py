"""No web page that the developer visits can act on the local cloud; the tests send what browsers send."""

from __future__ import annotations

import http.client
import json
import socket
import uuid

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud.ministack_adapter.environment import ROOT_KEY, root_secret
from localcloud.testing import LocalCloud

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _signed(
    local: LocalCloud, service: str, method: str, path: str, headers: dict[str, str], body: str
) -> dict[str, str]:
    """Sign a request, so that nothing but its page can be the reason of a refusal; a page's headers are not signed."""
    request = AWSRequest(method, f"{local.url}{path}", headers, body.encode())
    auth = S3SigV4Auth if service == "s3" else SigV4Auth
    auth(Credentials(ROOT_KEY, root_secret(local.state)), service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


def _ask(
    local: LocalCloud, method: str, path: str, headers: dict[str, str], body: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Send exactly these headers, and Host unless it is among them."""
    connection = http.client.HTTPConnection("127.0.0.1", local.port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def _users(local: LocalCloud) -> set[str]:
    return {user["UserName"] for user in local.client("iam").list_users()["Users"]}


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:4747"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": ""},
    ],
    ids=lambda headers: "-".join(f"{name}:{value}" for name, value in headers.items()),
)
def test_a_form_post_of_another_site_changes_nothing(local: LocalCloud, page: dict[str, str]) -> None:
    name = f"user-{uuid.uuid4().hex[:8]}"
    form = f"Action=CreateUser&Version=2010-05-08&UserName={name}"
    headers = _signed(local, "iam", "POST", "/", _FORM, form)
    status, answered, content = _ask(local, "POST", "/", {**headers, **page}, form)
    assert status == 403, content
    assert next(iter(page)) in content.decode(), "the refusal names the header"
    assert not any(header.startswith("access-control-") for header in answered)
    assert name not in _users(local)


def test_the_same_post_without_a_page_is_answered(local: LocalCloud) -> None:
    """Show that the test above fails because of its page, not its form."""
    name = f"user-{uuid.uuid4().hex[:8]}"
    form = f"Action=CreateUser&Version=2010-05-08&UserName={name}"
    status, _, content = _ask(local, "POST", "/", _signed(local, "iam", "POST", "/", _FORM, form), form)
    assert status == 200, content
    assert name in _users(local)


def test_a_page_of_another_site_starts_no_job(local: LocalCloud) -> None:
    request = {"ProcessingJobName": f"job-{uuid.uuid4().hex[:8]}", "RoleArn": "arn:aws:iam::000000000000:role/r"}
    body = json.dumps(request)
    target = {"X-Amz-Target": "SageMaker.CreateProcessingJob", "Content-Type": "text/plain"}
    headers = {**_signed(local, "sagemaker", "POST", "/", target, body), "Origin": "http://a.b"}
    status, _, _ = _ask(local, "POST", "/", headers, body)
    assert status == 403
    jobs = local.client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"]
    assert request["ProcessingJobName"] not in [job["ProcessingJobName"] for job in jobs]


@pytest.mark.parametrize("path", ["/", "/bucket/key", "/_localcloud/clock", "/_localcloud/health"])
def test_a_preflight_is_refused_without_a_cors_header(local: LocalCloud, path: str) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    status, answered, _ = _ask(local, "OPTIONS", path, asked)
    assert status == 403
    assert not any(header.startswith("access-control-") for header in answered)


@pytest.mark.parametrize(("method", "path"), [("OPTIONS", "/"), ("GET", "/"), ("GET", "/nothing/here")])
def test_no_answer_carries_a_cors_header(local: LocalCloud, method: str, path: str) -> None:
    _, answered, _ = _ask(local, method, path, _signed(local, "s3", method, path, {}, ""))
    assert not any(header.startswith("access-control-") for header in answered)


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "[::1]", "bucket.s3.localhost"])
def test_loopback_names_are_answered(local: LocalCloud, name: str) -> None:
    status, _, _ = _ask(local, "GET", "/_localcloud/health", {"Host": f"{name}:{local.port}"})
    assert status == 200


_TYPED = {"Sec-Fetch-Site": "none", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}


def test_a_person_may_open_an_address_that_only_reads(local: LocalCloud) -> None:
    assert _ask(local, "GET", "/_localcloud/health", _TYPED)[0] == 200
    s3 = local.client("s3")
    s3.create_bucket(Bucket="opened")
    s3.put_object(Bucket="opened", Key="report.html", Body=b"<script>alert(1)</script>", ContentType="text/html")
    url = s3.generate_presigned_url("get_object", {"Bucket": "opened", "Key": "report.html"})
    status, answered, content = _ask(local, "GET", url.removeprefix(local.url), _TYPED)
    assert (status, content) == (200, b"<script>alert(1)</script>")
    assert answered["content-security-policy"] == "sandbox", "a stored page has no origin and runs no script"
    assert answered["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("spelling", ["Action", "action", "%41ction"])
@pytest.mark.parametrize("browser", [_TYPED, {"User-Agent": "Mozilla/5.0 (old)"}], ids=["link", "old browser"])
def test_a_link_changes_nothing(local: LocalCloud, browser: dict[str, str], spelling: str) -> None:
    name = f"user-{uuid.uuid4().hex[:8]}"
    request = AWSRequest("GET", f"{local.url}/?{spelling}=CreateUser&Version=2010-05-08&UserName={name}")
    SigV4QueryAuth(Credentials(ROOT_KEY, root_secret(local.state)), "iam", "us-east-1").add_auth(request)
    path = str(request.url).removeprefix(local.url)
    status, _, content = _ask(local, "GET", path, browser)
    assert status == 403, content
    assert name not in _users(local)


def test_a_request_of_a_page_at_the_gateways_own_address_is_refused(local: LocalCloud) -> None:
    for page in ({"Origin": local.url}, {"Sec-Fetch-Site": "same-origin"}):
        assert _ask(local, "GET", "/_localcloud/health", page)[0] == 403


@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        "GET /_localcloud/health HTTP/1.1",
        "GET /_localcloud/health HTTP/1.0",
        "GET /_localcloud/health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        "GET http://127.0.0.1/_localcloud/health HTTP/1.1\r\nHost: evil.example",
        "GET /_localcloud/health HTTP/1.1\r\nHost: localhost\r\nORIGIN: http://evil.example",
        "GET /_localcloud/health HTTP/1.1\r\nHost: 0.0.0.0",
        "GET /_localcloud/health HTTP/1.1\r\nHost: localhost@evil.example",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
    ids=["no host", "HTTP 1.0", "two hosts", "absolute form", "case", "any address", "user", "websocket"],
)
def test_a_request_that_hides_its_site_is_refused(local: LocalCloud, request_line_and_headers: str) -> None:
    end = "\r\n\r\n" if "Upgrade" in request_line_and_headers else "\r\nConnection: close\r\n\r\n"
    assert _raw(local, request_line_and_headers + end).split()[1] in (b"400", b"403")


def test_two_origins_are_refused(local: LocalCloud) -> None:
    lines = f"GET /_localcloud/health HTTP/1.1\r\nHost: localhost\r\nOrigin: {local.url}\r\nOrigin: http://evil.example"
    assert _raw(local, f"{lines}\r\nConnection: close\r\n\r\n").split()[1] == b"403"


@pytest.mark.parametrize(
    "path",
    [
        "/_ministack/reset",
        "//_ministack/reset",
        "/%5fministack/reset",
        "/_ministack%2freset",
        "/_ministack/lambda-code/../reset",
        "http://localhost/_ministack/reset",
        "/_ministack/config",
        "/_aws/lambda-url/f/",
    ],
)
def test_closed_administration_stays_closed_however_its_path_is_written(local: LocalCloud, path: str) -> None:
    bucket = f"kept-{uuid.uuid4().hex[:8]}"
    local.client("s3").create_bucket(Bucket=bucket)
    answered = _raw(local, f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert answered.split()[1] in (b"400", b"403", b"404", b"405"), answered
    assert bucket in [one["Name"] for one in local.client("s3").list_buckets()["Buckets"]]


def _raw(local: LocalCloud, text: str) -> bytes:
    with socket.create_connection(("127.0.0.1", local.port), timeout=30) as raw:
        raw.sendall(text.encode())
        return raw.recv(200)
