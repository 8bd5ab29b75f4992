"""Stand-in for CodeBuild's image: this machine's programs, with a home and a virtual environment for each build.

A build cannot change the developer's environment: `pip install` installs into the build's virtual environment, which
also sees the local cloud's packages, and `npm install -g` into a prefix in the build's home. The configured registries
are the developer's, without the passwords and tokens for them. So are the download caches of uv, pip and npm: a build
reads them, and what it adds is its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from localcloud import loopback
from localcloud.runtime import visible

# Variables that builds inherit: settings of package managers, proxies and certificates; none of AWS.
_INHERITED_PREFIXES = ("PIP_", "UV_", "NPM_CONFIG_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "JSII_SILENCE_")
_NPM_SETTING = re.compile(r"\s*(@[\w.-]+:registry|registry|cafile|ca|strict-ssl|fetch-[\w-]+)\s*=", re.IGNORECASE)
_INHERITED_NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


def prepare(home: Path, python: Path, inside_python: str) -> None:
    """Create a build's home and Python environment.

    Args:
        home: the home directory.
        python: the virtual environment.
        inside_python: the path of `python` in the build's sandbox.
    """
    (home / ".npm-global").mkdir(parents=True)
    (home / ".npmrc").write_text(_npm_settings(Path.home() / ".npmrc"))
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
    """Return a build's variables without the project's: no credentials, and none of the gateway's variables."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.upper().startswith(_INHERITED_PREFIXES) or name in _INHERITED_NAMES
    }
    own = Path(sys.executable).parent
    path = [f"{inside_home}/.npm-global/bin", f"{inside_python}/bin", os.environ.get("PATH", os.defpath), str(own)]
    return {
        **_cache_variables(),
        "npm_config_update_notifier": "false",
        **inherited,
        "npm_config_userconfig": f"{inside_home}/.npmrc",
        "npm_config_prefix": f"{inside_home}/.npm-global",
        **loopback.no_proxy(os.environ),
        "PATH": os.pathsep.join(path),
        "HOME": inside_home,
        "LANG": "C.UTF-8",
    }


def _cache_variables() -> dict[str, str]:
    user = Path.home()
    caches = {"UV_CACHE_DIR": ".cache/uv", "PIP_CACHE_DIR": ".cache/pip", "npm_config_cache": ".npm"}
    return {name: os.environ.get(name) or str(user / folder) for name, folder in caches.items()}


def caches() -> list[str]:
    """Return the download caches, which a build sees with changes of its own."""
    return list(_cache_variables().values())


def visible_paths() -> list[str]:
    """Return what a build sees of the host, read-only: programs, Python, and what registries are configured with."""
    configured = [
        word.removeprefix("file://")
        for name, value in os.environ.items()
        if name.upper().startswith(("PIP_", "UV_", "NPM_CONFIG_")) or name in _INHERITED_NAMES
        if name not in _cache_variables()
        for word in value.replace(",", " ").split()
        if word.startswith(("/", "file:///"))
    ]
    return [*visible.this_environment(), *visible.programs(), *configured]


def _npm_settings(file: Path) -> str:
    """Return the settings of npm that name registries and certificates, without the credentials."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return "".join(f"{line}\n" for line in lines if _NPM_SETTING.match(line))


def with_shell_safe_names(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a shell can hold; a container drops the others too."""
    return {name: value for name, value in variables.items() if name and "=" not in name and "\0" not in value}
