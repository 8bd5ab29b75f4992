"""ministack's settings, fixed before it is imported: it reads most of them once."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from localcloud import loopback

REGION = "us-east-1"
ACCOUNT = "000000000000"
ROOT_KEY = "test"
ROOT_SECRET_FILE = "root-secret"  # noqa: S105 (a file's name)

# Prefixes of a shell's settings for other clouds: the local cloud must not see real credentials.
_FOREIGN = ("AWS_", "MINISTACK_", "LOCALSTACK_", "LAMBDA_", "S3_", "SERVICES", "EDGE_PORT", "USE_SSL", "DOCKER_HOST")


def root_secret(state_dir: Path) -> str:
    """Return the secret of the state folder's root key; it is made at the first use, for this user only."""
    file = state_dir / ROOT_SECRET_FILE
    state_dir.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f"{ROOT_SECRET_FILE}.{os.getpid()}")
    if not file.exists():
        with open(made, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as new:
            new.write(secrets.token_hex(20))
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(made, file)
        made.unlink()
    return file.read_text()


def is_root_secret(given: str) -> bool:
    """Return whether a text is the root's secret, in the gateway's process."""
    return hmac.compare_digest(given.encode(), os.environ["AWS_SECRET_ACCESS_KEY"].encode())


def configure(state_dir: Path, port: int) -> None:
    """Fix ministack's settings for this process, and exempt loopback from proxies.

    Raises:
        RuntimeError: ministack is already imported, so the settings would have no effect.
    """
    if any(name == "ministack" or name.startswith("ministack.") for name in sys.modules):
        raise RuntimeError("ministack was imported before its environment was configured")
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            del os.environ[name]
    scratch = state_dir / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed gateway left there
    scratch.mkdir(parents=True)
    tempfile.tempdir = None  # chosen under the old TMPDIR
    os.environ.update(
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        AUTH="true",
        AWS_ACCESS_KEY_ID=ROOT_KEY,
        AWS_SECRET_ACCESS_KEY=root_secret(state_dir),
        AWS_DEFAULT_REGION=REGION,
        AWS_REGION=REGION,
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        MINISTACK_REGION=REGION,
        MINISTACK_ACCOUNT_ID=ACCOUNT,
        MINISTACK_HOST="127.0.0.1",
        PERSIST_STATE="1",
        STATE_DIR=str(state_dir / "ministack"),
        S3_PERSIST="1",
        S3_DATA_DIR=str(state_dir / "s3"),
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        # Never use Docker, even where it runs.
        DOCKER_HOST=f"unix://{scratch / 'no-docker.sock'}",
        LAMBDA_EXECUTOR="local",
        LOG_LEVEL=os.environ.get("LOG_LEVEL", "WARNING"),
        TMPDIR=str(scratch),
        # Builds, functions and the clients of this process inherit it.
        **loopback.no_proxy(os.environ),
    )
