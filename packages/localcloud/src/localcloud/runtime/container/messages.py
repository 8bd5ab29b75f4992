"""Messages between a container's processes over a Unix socket: a length, a body, and file descriptors.

The module uses `_socket`, because each start of a container, or of a Python in one, pays for its imports.
"""

from __future__ import annotations

import _socket
import struct

# A folder in the container's /tmp with the executable that `sys.executable` and PATH name, and the socket that it uses.
HOME = "/tmp/.python"  # noqa: S108
EXECUTABLE, SOCKET = f"{HOME}/python3", f"{HOME}/socket"
WRITING = _socket.SHUT_WR
_HEAD = 8
_MAX_DESCRIPTORS = 64


def socket_of(descriptor: int) -> _socket.socket:
    """Return the Unix socket of a descriptor."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)


def send(connection: _socket.socket, body: bytes, descriptors: list[int]) -> None:
    """Send a body and descriptors."""
    rights = struct.pack(f"{len(descriptors)}i", *descriptors)
    connection.sendmsg([b"%08x" % len(body)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    connection.sendall(body)


def receive(connection: _socket.socket) -> tuple[bytes, list[int]]:
    """Receive a body and descriptors.

    Raises:
        EOFError: the other end was closed.
    """
    head, ancillary, _, _ = connection.recvmsg(_HEAD, _socket.CMSG_SPACE(_MAX_DESCRIPTORS * struct.calcsize("i")))
    descriptors = [
        number
        for level, kind, data in ancillary
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for (number,) in struct.iter_unpack("i", data[: len(data) // 4 * 4])
    ]
    head += _exactly(connection, _HEAD - len(head))
    return _exactly(connection, int(head, 16)), descriptors


def _exactly(connection: _socket.socket, size: int) -> bytes:
    body = b""
    while len(body) < size:
        piece = connection.recv(size - len(body))
        if not piece:
            raise EOFError
        body += piece
    return body
