"""Linux system calls for mounts, namespaces and privileges; Python has none of them."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21
ST_SAME_AS_MS, ST_RELATIME = 0b1100_0000_1110, 4096  # nosuid, nodev, noexec, noatime, nodiratime have equal bits
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442  # the same on every architecture
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "ppc64le": 203, "s390x": 217}
_READ_ONLY = (MS_RDONLY | MS_NOSUID).to_bytes(8, "little") + bytes(24)  # struct mount_attr: attr_set and three zeros
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION = 0x20080522
# chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service: what a container's root needs.
_KEPT_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 10))
_CAPABILITIES = 64
_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raise OSError where it fails."""
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Mount `source` on `target`."""
    try:
        call("mount", source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), None)
    except OSError as error:
        raise OSError(error.errno, f"mount {source} on {target}: {error.strerror}") from error


def overlay(lower: str, upper: str, work: str, target: str) -> None:
    """Mount `lower` on `target`, with changes that go to `upper`; raise OSError where the kernel cannot."""
    if any(character in path for path in (lower, upper, work) for character in ",:\\"):
        raise OSError(errno.EINVAL, f"overlay: {lower}: its options cannot name such a path")
    options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr"
    call("mount", b"overlay", target.encode(), b"overlay", ctypes.c_ulong(MS_NOSUID | MS_NODEV), options.encode())


def bind(source: str, target: str) -> None:
    """Bind-mount `source`, with the mounts below it, on `target`."""
    mount(source, target, None, MS_BIND | MS_REC)


def make_read_only(target: str) -> None:
    """Make a mount and every mount below it read-only."""
    try:
        call("syscall", _MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, _READ_ONLY, len(_READ_ONLY))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise OSError(error.errno, f"mount_setattr {target}: {error.strerror}") from error
        for place in _mounts_below(target):  # before Linux 5.12
            remount_read_only(place)


def _mounts_below(target: str) -> list[str]:
    with open("/proc/self/mountinfo", "rb") as file:
        places = [os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1")) for line in file]
    return [place for place in places if place == target or place.startswith(target + "/")]


def remount_read_only(place: str) -> None:
    """Make a mount read-only, but not the mounts below it."""
    flags = os.statvfs(place).f_flag
    kept = (flags & ST_SAME_AS_MS) | (MS_RELATIME if flags & ST_RELATIME else 0)  # locked in a user namespace
    mount("none", place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | kept)


def pivot(root: str) -> None:
    """Make `root`, a mount, the root directory, and detach the old one."""
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"pivot_root: its number is not known on {os.uname().machine}")
    os.chdir(root)
    call("syscall", number, b".", b".")
    call("umount2", b".", MNT_DETACH)  # the old root is now on top of the new one
    os.chdir("/")


def drop_privileges() -> None:
    """Keep what a container's root needs, and no way to get more: no mounts, devices, modules or traces."""
    for number in range(_CAPABILITIES):
        if not _KEPT_CAPABILITIES >> number & 1 and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # the kernel knows no further one
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = _CAPABILITY_VERSION.to_bytes(4, "little") + bytes(4)
    low, none = _KEPT_CAPABILITIES.to_bytes(4, "little"), bytes(4)
    call("capset", header, low + low + none + none + none + none)  # effective, permitted, inheritable; then the high


def die_with_parent(number: int) -> None:
    """Let the kernel send this process a signal when its parent ends."""
    call("prctl", _PR_SET_PDEATHSIG, number)
