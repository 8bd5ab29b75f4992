"""A build's input and output: zips in S3, read and written with the project's service role; git for CodeCommit."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localcloud.codebuild.buildspec import Files
from localcloud.globs import matches
from localcloud.source.repositories import Repositories, SourceError

CLONE_REFERENCE = ".codepipeline-clone.json"  # in place of a tree: which commit of which repository to clone
REVISION = "codepipeline-artifact-revision-id"  # S3 metadata of a source action's artifact
_S3 = "arn:aws:s3:::"
_EXECUTABLE, _LINK = 0o100, 0o120000


# (IAM action, resource) → why the build's role may not, or None
Denied = Callable[[str, str], str | None]


class TransferError(Exception):
    """An artifact could not be read or written; `code` is the phase context's status code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def s3_arn(bucket: str, key: str) -> str:
    return f"{_S3}{bucket}/{key}"


def s3_place(location: str) -> tuple[str, str]:
    """`arn:aws:s3:::bucket/key` or `bucket/key` → (bucket, key)."""
    bucket, _, key = location.removeprefix(_S3).partition("/")
    return bucket, key


def download(s3: Any, location: str, folder: Path, repositories: Repositories, denied: Denied) -> str | None:
    """Unpack a zip of S3 into a new folder; follow a reference to a commit with a clone.

    Args:
        denied: (action, resource) → why the role may not, or None; a clone needs one of the reference's permissions.

    Returns:
        The commit that the archive was made of, where a source action says so.

    Raises:
        TransferError: it is not there, not readable with the role, or no zip.
    """
    bucket, key = s3_place(location)
    try:
        held = s3.get_object(Bucket=bucket, Key=key)
        body = held["Body"].read()
    except ClientError as error:
        raise TransferError("CLIENT_ERROR", f"{error} for primary source {location}") from error
    try:
        unpack(body, folder)
    except zipfile.BadZipFile as error:
        raise TransferError("CLIENT_ERROR", f"{location} is no zip archive") from error
    reference = folder / CLONE_REFERENCE
    if reference.exists():
        wanted = json.loads(reference.read_text())
        reference.unlink()
        denials = [denied(action, resource) for action, resource in wanted["permissions"]]
        if all(denials):
            raise TransferError("GIT_CLONE_FAILED", str(denials[0]))
        clone(repositories, wanted["repository"], wanted["commit"], folder)
    revision = held["Metadata"].get(REVISION)
    return None if revision is None else str(revision)


def clone(repositories: Repositories, name: str, version: str, folder: Path) -> None:
    """Check a commit or branch of a repository out, with its history."""
    repository = repositories.find(name)
    if repository is None:
        raise TransferError("CLIENT_ERROR", f"there is no repository {name} in the local cloud")
    try:
        repository.clone(repository.commit(version).id, folder)
    except SourceError as error:
        raise TransferError("CLIENT_ERROR", str(error)) from error


def unpack(body: bytes, folder: Path) -> None:
    """Unpack with the modes and symbolic links that the zip holds.

    Raises:
        TransferError: an entry would lie outside of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            if not (folder / entry.filename).resolve().is_relative_to(folder.resolve()):
                raise TransferError("CLIENT_ERROR", f"the archive's entry {entry.filename} lies outside of it")
            if mode & 0o170000 == _LINK:
                links.append((folder / entry.filename, archive.read(entry).decode()))
                continue
            path = Path(archive.extract(entry, folder))
            if mode & _EXECUTABLE and path.is_file():
                path.chmod(0o755)
    for path, target in links:  # last, so that no file is written through one
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def matching(files: Files, source: Path) -> list[tuple[Path, str]]:
    """(file, name in the archive) of what the patterns choose, in order of their names."""
    base = source / files.base_directory
    found = []
    for path in sorted(base.rglob("*")):
        name = path.relative_to(base).as_posix()
        wanted = any(matches(pattern, name) for pattern in files.patterns)
        if wanted and (path.is_file() or path.is_symlink()) and not any(matches(one, name) for one in files.exclude):
            found.append((path, path.name if files.discard_paths else name))
    return found


def pack(files: Files, source: Path) -> bytes:
    """Zip what the patterns choose.

    Raises:
        TransferError: nothing matches.
    """
    base = source / files.base_directory
    if not base.is_dir():
        raise TransferError("CLIENT_ERROR", f"no matching base directory path found for {files.base_directory}")
    chosen = matching(files, source)
    if not chosen:
        raise TransferError("CLIENT_ERROR", f"no matching artifact paths found for {', '.join(files.patterns)}")
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
        for path, name in chosen:
            if path.is_symlink():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = (_LINK | 0o777) << 16
                archive.writestr(entry, str(path.readlink()))
            else:
                archive.write(path, name)
    return body.getvalue()


def upload(s3: Any, location: str, body: bytes, key_id: str | None) -> None:
    """Put an archive where the pipeline asked for it, encrypted with its key.

    Raises:
        TransferError: the role may not.
    """
    bucket, key = s3_place(location)
    encryption: dict[str, str] = {"ServerSideEncryption": "aws:kms"}
    if key_id and not key_id.endswith("alias/aws/s3"):
        encryption["SSEKMSKeyId"] = key_id
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, **encryption)
    except ClientError as error:
        raise TransferError("CLIENT_ERROR", f"Error in UPLOAD_ARTIFACTS phase: {error}") from error
