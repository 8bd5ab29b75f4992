"""The release record: the one string that names what a stage serves (docs/reference/contracts.md, "Release record")."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NONE = "none"
# The id becomes part of S3 keys and of the names of alarms and change sets, so every parser checks its form.
_RELEASE_ID = re.compile(r"v([1-9][0-9]*)-[0-9a-f]{8}")
_IMAGE = re.compile(r"[^\s|@]+@sha256:[0-9a-f]{64}")
_PACKAGE_ARN = re.compile(r"arn:[a-z-]+:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/[A-Za-z0-9-]+/([1-9][0-9]*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ReleaseRecord:
    """The release that a stage serves.

    Attributes:
        release_id: `v<version>-<first 8 hex of the registration record's SHA-256>`, or `none`.
        image: `<registry>/<repository>@sha256:…`.
        package_arn: ARN of the model package version.
        artifact_sha256: SHA-256 of model.tar.gz, 64 hexadecimal digits.
    """

    release_id: str
    image: str
    package_arn: str
    artifact_sha256: str

    @property
    def version(self) -> int | None:
        """The model package's version, or None before the first release."""
        return version_of(self.release_id)

    def format(self) -> str:
        """Return the record's string.

        Raises:
            ValueError: A field is empty or contains the separator.
        """
        fields = (self.release_id, self.image, self.package_arn, self.artifact_sha256)
        if any(not field or "|" in field for field in fields):
            raise ValueError(f"a release record's fields must not be empty or contain '|', got {fields}")
        return "|".join(fields)

    @property
    def malformed_field(self) -> str:
        """The first field that does not have its form, with its value, in a clause; "" for none."""
        if self == NO_RELEASE:
            return ""
        if self.version is None:
            return f"its release id is {self.release_id!r}"
        if not _IMAGE.fullmatch(self.image):
            return f"its image {self.image!r} is not <repository>@sha256:<64 hexadecimal digits>"
        package = _PACKAGE_ARN.fullmatch(self.package_arn)
        if package is None or int(package.group(1)) != self.version:
            return f"{self.package_arn!r} is not the ARN of version {self.version}"
        if not _SHA256.fullmatch(self.artifact_sha256):
            return f"its artifact's SHA-256 {self.artifact_sha256!r} is not 64 hexadecimal digits"
        return ""


NO_RELEASE = ReleaseRecord(_NONE, _NONE, _NONE, _NONE)


def release_id(version: int, record_sha256: str) -> str:
    """Return the release id of a package version. The same package always gives the same id.

    Args:
        version: The model package's version, 1 or more.
        record_sha256: SHA-256 of its registration record, 64 hexadecimal digits.
    """
    return f"v{version}-{record_sha256[:8]}"


def version_of(release: str) -> int | None:
    """Return the package version a release id names, or None where it is not a release id."""
    match = _RELEASE_ID.fullmatch(release)
    return int(match.group(1)) if match else None


def parse_release_record(text: str) -> ReleaseRecord:
    """Parse a release record.

    Raises:
        ValueError: It does not have four fields, is partly `none`, or its release id is malformed.
    """
    fields = text.split("|")
    if len(fields) != 4:
        raise ValueError(f"a release record has 4 fields separated by '|', got {len(fields)} in {text!r}")
    record = ReleaseRecord(*fields)
    if record == NO_RELEASE:
        return record
    if record.version is None or not all(fields) or _NONE in fields:
        raise ValueError(f"not a release record: {text!r}")
    return record
