"""Partial states and verdicts in S3.

A partial state is one captured object's part of one window. Its key is derived from the object's key and ETag, so a
repeated event overwrites the partial state with the same bytes. A window is the merge of its partial states in any
order, so events may also arrive out of order.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drift_analyzer.jsonio import dumps, loads
from drift_analyzer.window_state import WindowState

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class WindowStore:
    """The windows of one release, under `prefix` in `bucket`."""

    s3: "S3Client"
    bucket: str
    prefix: str

    def put_partial(self, window: int, key: str, etag: str, state: WindowState) -> None:
        """Write an object's partial state of a window."""
        name = hashlib.sha256(f"{key}\n{etag}".encode()).hexdigest()[:32]
        self._put(f"partials/{window}/{name}.json", dumps(state.to_json()), "application/json")

    def partials(self, window: int) -> list[str]:
        """List the keys of the window's partial states."""
        return sorted(self._keys(f"partials/{window}/"))

    def merged(self, keys: list[str]) -> WindowState:
        """Merge partial states; `keys` must not be empty."""
        states = (WindowState.from_json(self._get(key)) for key in keys)
        total = next(states)
        for state in states:
            total.merge(state)
        return total

    def put(self, window: int, name: str, body: bytes, content_type: str) -> None:
        """Write one of the window's files."""
        self._put(f"windows/{window}/{name}", body, content_type)

    def address(self, window: int, name: str) -> str:
        """Return the S3 URI of one of the window's files."""
        return f"s3://{self.bucket}/{self.prefix}/windows/{window}/{name}"

    def verdicts_before(self, window: int, number: int = 3) -> list[dict[str, Any]]:
        """Read the last verdicts of earlier windows, oldest first."""
        found = [key for key in self._keys("windows/") if key.endswith("/verdict.json")]
        earlier = sorted((start, key) for key in found if (start := int(key.split("/")[-2])) < window)
        return [self._get(key) for _, key in earlier[-number:]]

    def _keys(self, under: str) -> Iterator[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/{under}")
        for page in pages:
            for item in page.get("Contents", []):
                yield item["Key"]

    def _get(self, key: str) -> Any:
        return loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def _put(self, name: str, body: bytes, content_type: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=body, ContentType=content_type)
