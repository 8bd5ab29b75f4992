"""What stands in for CodeBuild's image: this machine's programs, behind a home and a Python of each build's own.

Nothing that a build installs reaches the developer's environment: `pip install` goes to the build's virtual environment
(which sees the packages of the local cloud's), `npm install -g` to a prefix in its home. Downloads are shared: uv's,
pip's and npm's caches are the developer's, and so are the registries that they are told to use.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from localcloud import loopback

# Settings of package managers and of the way to them; none of AWS's.
_HANDED_ON = ("PIP_", "UV_", "NPM_CONFIG_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "JSII_SILENCE_")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


def prepare(home: Path, python: Path, inside_python: str) -> None:
    """Make the home and the Python environment.

    Args:
        inside_python: where the build sees `python`.
    """
    (home / ".npm-global").mkdir(parents=True)
    has_pip = importlib.util.find_spec("pip") is not None
    flags = ["--without-pip"] if has_pip else []
    subprocess.run([sys.executable, "-m", "venv", *flags, str(python)], check=True, capture_output=True)
    packages = python / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "local_cloud.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if has_pip:
        for name in ("pip", "pip3"):
            script = python / "bin" / name
            script.write_text(f'#!/bin/sh\nexec "{inside_python}/bin/python" -m pip "$@"\n')
            script.chmod(0o755)


def environment(inside_home: str, inside_python: str) -> dict[str, str]:
    """A build's variables before anything of the project: nothing of the gateway's own, and no credentials."""
    user = Path.home()
    handed_on = {
        name: value
        for name, value in os.environ.items()
        if name.upper().startswith(_HANDED_ON) or name in _CERTIFICATES
    }
    caches = {
        "UV_CACHE_DIR": str(user / ".cache" / "uv"),
        "PIP_CACHE_DIR": str(user / ".cache" / "pip"),
        "npm_config_cache": str(user / ".npm"),
        "npm_config_userconfig": str(user / ".npmrc"),
        "npm_config_update_notifier": "false",
    }
    own = Path(sys.executable).parent
    path = [f"{inside_home}/.npm-global/bin", f"{inside_python}/bin", os.environ.get("PATH", os.defpath), str(own)]
    return {
        **caches,
        **handed_on,
        "npm_config_prefix": f"{inside_home}/.npm-global",
        **loopback.no_proxy(os.environ),
        "PATH": os.pathsep.join(path),
        "HOME": inside_home,
        "LANG": "C.UTF-8",
    }


def with_shell_safe_names(variables: Mapping[str, str]) -> dict[str, str]:
    """Only what a shell can hold: other names are not set, as in a container."""
    return {name: value for name, value in variables.items() if name and "=" not in name and "\0" not in value}
