"""A container's file system: a tree of its own, in which the host's is not visible.

The tree is a tmpfs. It has the system's programs and what the plan names, both read-only, and directories of the
container's own. The old root is detached, so that no path and no symbolic link leads to the host's files.
"""

from __future__ import annotations

import errno
import os
from typing import Any

import mounts

# Programs and libraries. A home, a project, keys, sockets of services and data are in none of them.
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/run/current-system",
    "/var/lib/ca-certificates", "/sys/devices/system", "/sys/fs/cgroup",
    *(f"/etc/{name}" for name in (
        "alternatives", "ca-certificates", "crypto-policies", "debian_version", "fonts", "gai.conf", "gitconfig",
        "host.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "lsb-release",
        "mime.types", "networks", "npmrc", "nsswitch.conf", "os-release", "pip.conf", "pki/ca-trust",
        "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "resolv.conf", "services", "shells",
        "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "static", "timezone", "uv",
    )),
)  # fmt: skip
_DIRECTORIES = (
    "tmp", "root", "opt/ml", "proc", "dev", "dev/shm", "etc", "home", "mnt", "run", "srv", "var/cache", "var/lib",
    "var/log", "var/task",
)  # fmt: skip
_WRITABLE_BY_ALL = ("dev/shm", "var/tmp")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1",
          "dev/stderr": "/proc/self/fd/2"}  # fmt: skip
_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nnogroup:x:65534:\n"
# Root may write settings of the kernel by its user id alone, without a capability.
_KERNEL = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_HOST = "algo-1"  # a job's only instance: toolkits wait until its name is known
_INSTALLED = "/tmp/.installed"  # noqa: S108 (the container's)
_HIDDEN = ("/usr/src",)  # a place of projects


def enter(plan: dict[str, Any]) -> None:
    """Build the plan's tree, make it this process's root, and give up the privileges that building needed."""
    root = os.path.realpath(plan["root"])
    mounts.mount("none", "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("tmpfs", root, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV)
    os.chmod(root, 0o755)  # noqa: S103 (as a root directory)
    for name in _DIRECTORIES:
        os.makedirs(f"{root}/{name}", exist_ok=True)
    for name in _WRITABLE_BY_ALL:
        os.makedirs(f"{root}/{name}", exist_ok=True)
        os.chmod(f"{root}/{name}", 0o1777)  # noqa: S103 (as these directories)
    for source, place in plan["own"]:
        os.makedirs(root + place, exist_ok=True)
        mounts.bind(source, root + place)
    for lower, upper, work in plan["overlays"]:
        _overlay(lower, upper, work, root + lower, plan["environment"])
    exposed: list[str] = []
    for path in (*_SYSTEM, *plan["read_only"]):
        _expose(path, root, exposed)
    for path in _HIDDEN:
        if os.path.isdir(root + path):
            mounts.mount("tmpfs", root + path, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_RDONLY)
    _add_devices(root)
    _add_proc(root, own=plan["pid_namespace"])
    _write(f"{root}/etc/passwd", _USERS)
    _write(f"{root}/etc/group", _GROUPS)
    _write(f"{root}/etc/hosts", f"{_hosts()}\n127.0.0.1 {_HOST}\n")
    if plan["read_only_root"]:
        mounts.remount_read_only(root)
    mounts.pivot(root)
    mounts.drop_privileges()


def _expose(path: str, root: str, exposed: list[str]) -> None:
    """Bind a path of the host read-only at its own place, and repeat the symbolic links that lead to it."""
    rest = path.strip("/").split("/")
    current = ""
    while rest:
        place = f"{current}/{rest.pop(0)}"
        if not os.path.islink(place):
            current = place
            continue
        target = os.readlink(place)
        if not os.path.lexists(root + place):
            _make_directory(root + current)
            os.symlink(target, root + place)
        rest = os.path.normpath(os.path.join(current, target)).strip("/").split("/") + rest
        current = ""
    if not os.path.exists(current) or any(current == one or current.startswith(one + "/") for one in exposed):
        return
    _make_mount_point(current, root + current)
    mounts.bind(current, root + current)
    mounts.make_read_only(root + current)
    exposed.append(current)


def _overlay(lower: str, upper: str, work: str, place: str, variables: dict[str, str]) -> None:
    """Show a directory with changes of the container's own; empty where the kernel cannot or it does not exist.

    A Python environment is then shown as it is, and pip installs into a folder of the container.
    """
    _make_directory(place)
    try:
        mounts.overlay(lower, upper, work, place)
    except OSError:
        if not os.path.exists(f"{lower}/pyvenv.cfg"):
            mounts.bind(upper, place)
            return
        mounts.bind(lower, place)
        mounts.make_read_only(place)
        variables["PIP_TARGET"] = _INSTALLED
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (_INSTALLED, variables.get("PYTHONPATH"))))


def _hosts() -> str:
    try:
        with open("/etc/hosts") as file:
            return file.read()
    except OSError:
        return "127.0.0.1 localhost"


def _make_mount_point(source: str, place: str) -> None:
    if os.path.isdir(source):
        _make_directory(place)
        return
    _make_directory(os.path.dirname(place))
    os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))


def _make_directory(place: str) -> None:
    """Make a directory of the tree; a restarted server may have left links in its /tmp or home, which lead outside."""
    if os.path.realpath(place) != place:
        raise OSError(errno.ELOOP, f"{place} lies behind a symbolic link that the container left")
    os.makedirs(place, exist_ok=True)


def _add_devices(root: str) -> None:
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            _write(f"{root}/dev/{name}", "")
            mounts.bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name, target in _LINKS.items():
        os.symlink(target, f"{root}/{name}")


def _add_proc(root: str, *, own: bool) -> None:
    if not own:
        mounts.bind("/proc", f"{root}/proc")
        return
    mounts.mount("proc", f"{root}/proc", "proc", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC)
    for name in _KERNEL:
        place = f"{root}/proc/{name}"
        if os.path.exists(place):
            mounts.bind(place, place)
            mounts.make_read_only(place)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
