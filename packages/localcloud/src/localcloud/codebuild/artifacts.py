"""Input and output of builds: zips in S3, transferred with the project's service role, and git for CodeCommit."""

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

CLONE_REFERENCE = ".codepipeline-clone.json"  # file that names the repository and commit to clone, instead of sources
REVISION = "codepipeline-artifact-revision-id"  # S3 metadata of a source action's artifact
_S3 = "arn:aws:s3:::"
_EXECUTABLE, _LINK = 0o100, 0o120000


# (IAM action, resource) → the reason why the build's role is denied, or None
Denied = Callable[[str, str], str | None]


class ArtifactError(Exception):
    """An artifact could not be read or written; `code` is the phase context's status code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def s3_arn(bucket: str, key: str) -> str:
    """Return the ARN of an object."""
    return f"{_S3}{bucket}/{key}"


def split_location(location: str) -> tuple[str, str]:
    """Split `arn:aws:s3:::bucket/key` or `bucket/key` into (bucket, key)."""
    bucket, _, key = location.removeprefix(_S3).partition("/")
    return bucket, key


def download(s3: Any, location: str, folder: Path, repositories: Repositories, denied: Denied) -> str | None:
    """Unpack a zip from S3 into a new folder; where it is a reference to a commit, clone the repository.

    Args:
        s3: client with the role's credentials.
        location: of the zip.
        folder: target.
        repositories: the repositories to clone from.
        denied: (action, resource) → the reason why the role is denied, or None. A clone needs one of the permissions
            that the reference names.

    Returns:
        The commit of the archive, where a source action recorded it.

    Raises:
        ArtifactError: the object does not exist, the role may not read it, or it is not a zip.
    """
    bucket, key = split_location(location)
    try:
        response = s3.get_object(Bucket=bucket, Key=key)
        body = response["Body"].read()
    except ClientError as error:
        raise ArtifactError("CLIENT_ERROR", f"{error} for primary source {location}") from error
    try:
        unpack(body, folder)
    except zipfile.BadZipFile as error:
        raise ArtifactError("CLIENT_ERROR", f"{location} is not a zip archive") from error
    reference = folder / CLONE_REFERENCE
    if reference.exists():
        wanted = json.loads(reference.read_text())
        reference.unlink()
        denials = [denied(action, resource) for action, resource in wanted["permissions"]]
        if all(denials):
            raise ArtifactError("GIT_CLONE_FAILED", str(denials[0]))
        clone(repositories, wanted["repository"], wanted["commit"], folder)
    revision = response["Metadata"].get(REVISION)
    return None if revision is None else str(revision)


def clone(repositories: Repositories, name: str, version: str, folder: Path) -> None:
    """Clone a repository with its history, and check out a commit or branch.

    Raises:
        ArtifactError: the repository or the version does not exist.
    """
    repository = repositories.find(name)
    if repository is None:
        raise ArtifactError("CLIENT_ERROR", f"there is no repository {name} in the local cloud")
    try:
        repository.clone(repository.commit(version).id, folder)
    except SourceError as error:
        raise ArtifactError("CLIENT_ERROR", str(error)) from error


def unpack(body: bytes, folder: Path) -> None:
    """Unpack a zip with its file modes and symbolic links.

    Raises:
        ArtifactError: an entry would be outside of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            if not (folder / entry.filename).resolve().is_relative_to(folder.resolve()):
                raise ArtifactError("CLIENT_ERROR", f"the archive's entry {entry.filename} is outside of its folder")
            if mode & 0o170000 == _LINK:
                links.append((folder / entry.filename, archive.read(entry).decode()))
                continue
            path = Path(archive.extract(entry, folder))
            if mode & _EXECUTABLE and path.is_file():
                path.chmod(0o755)
    for path, target in links:  # last, so that no file is written through a link
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError("CLIENT_ERROR", f"the archive's entry {path.name} lies behind a symbolic link")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def _base(files: Files, source: Path) -> Path:
    """Return the base directory; it may not lead to the host's files, by its name or by a symbolic link."""
    base = (source / files.base_directory).resolve()
    if not base.is_dir() or not base.is_relative_to(source):
        raise ArtifactError("CLIENT_ERROR", f"no matching base directory path found for {files.base_directory}")
    return base


def matching(files: Files, source: Path) -> list[tuple[Path, str]]:
    """Return (file, name in the archive) of the files that match, sorted by name.

    Raises:
        ArtifactError: the base directory is not in the source.
    """
    base = _base(files, source)
    found = []
    for path in sorted(base.rglob("*")):
        name = path.relative_to(base).as_posix()
        wanted = any(matches(pattern, name) for pattern in files.patterns)
        if wanted and (path.is_file() or path.is_symlink()) and not any(matches(one, name) for one in files.exclude):
            found.append((path, path.name if files.discard_paths else name))
    return found


def pack(files: Files, source: Path) -> bytes:
    """Return a zip of the files that match.

    Raises:
        ArtifactError: no file matches.
    """
    chosen = matching(files, source)
    if not chosen:
        raise ArtifactError("CLIENT_ERROR", f"no matching artifact paths found for {', '.join(files.patterns)}")
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
    """Upload an archive, encrypted with the pipeline's key.

    Raises:
        ArtifactError: the role may not write it.
    """
    bucket, key = split_location(location)
    encryption: dict[str, str] = {"ServerSideEncryption": "aws:kms"}
    if key_id and not key_id.endswith("alias/aws/s3"):
        encryption["SSEKMSKeyId"] = key_id
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, **encryption)
    except ClientError as error:
        raise ArtifactError("CLIENT_ERROR", f"Error in UPLOAD_ARTIFACTS phase: {error}") from error
