"""The host's end of the guest's NICs: stream sockets that carry frames, and taps."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import struct
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from errors import HarnessError


class Hub:
    """A cable inside QEMU: every NIC on the hub of the same number."""

    def __init__(self, number: int = 0) -> None:
        self._number = number

    def options(self, name: str) -> str:
        return f"hubport,id={name},hubid={self._number}"

    def inherited(self) -> list[int]:
        return []


class Tap:
    """A tap device of ours, handed to QEMU as a descriptor: it goes when both have closed it, so nothing is left of it
    however the run ends. It asks for no offload, so the frames carry real checksums and are at most one MTU long."""

    def __init__(self, name: str) -> None:
        tunsetiff, iff_tap, iff_no_pi = 0x400454CA, 0x0002, 0x1000  # <linux/if_tun.h>
        self.name = name
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(self._fd, tunsetiff, struct.pack("16sH22x", name.encode(), iff_tap | iff_no_pi))
        except OSError:
            os.close(self._fd)
            raise

    def options(self, name: str) -> str:
        return f"tap,id={name},fd={self._fd}"

    def inherited(self) -> list[int]:
        return [self._fd]

    def close(self) -> None:
        os.close(self._fd)


class StreamPeer:
    """Frames over QEMU's "stream" netdev on a unix socket: ordered and reliable, four bytes of length (big endian)
    before each. Nothing blocks: `pump` moves what can be moved."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="spinring-wire-")
        self._path = Path(self._folder.name) / "s"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(1)
        self._socket: socket.socket | None = None
        self._out = bytearray()
        self._in = bytearray()
        self.received: deque[bytes] = deque()

    def options(self, name: str) -> str:
        return f"stream,id={name},server=off,addr.type=unix,addr.path={self._path}"

    def inherited(self) -> list[int]:
        return []

    def accept(self) -> None:
        """Once QEMU runs."""
        self._listener.settimeout(10)
        self._socket, _ = self._listener.accept()
        self._socket.setblocking(False)

    def fileno(self) -> int:
        assert self._socket is not None, "accept() first"
        return self._socket.fileno()

    def queue(self, frame: bytes) -> None:
        self._out += struct.pack(">I", len(frame)) + frame

    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return len(self._out)

    def on_writable(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._out[:262144])
        except BlockingIOError:
            return
        del self._out[:sent]

    def on_readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(262144)
        except BlockingIOError:
            return
        if not data:
            raise HarnessError("QEMU closed the wire")
        self._in += data
        at = 0
        while len(self._in) - at >= 4:
            (length,) = struct.unpack_from(">I", self._in, at)
            if len(self._in) - at - 4 < length:
                break
            self.received.append(bytes(self._in[at + 4: at + 4 + length]))
            at += 4 + length
        del self._in[:at]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._listener.close()
        self._folder.cleanup()


def pump(peers: Sequence[StreamPeer], timeout: float) -> None:
    """Moves frames on all peers, waiting at most `timeout` seconds for one that can move."""
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent() else 0), peer)
        for key, events in selector.select(timeout):
            peer = key.data
            if events & selectors.EVENT_READ:
                peer.on_readable()
            if events & selectors.EVENT_WRITE:
                peer.on_writable()


def drain(peers: Sequence[StreamPeer], quiet: float = 0.3, limit: float = 10.0) -> None:
    """Throws away what arrives until nothing has come for `quiet` seconds."""
    end = time.monotonic() + limit
    last = time.monotonic()
    while time.monotonic() - last < quiet:
        if time.monotonic() > end:
            raise HarnessError(f"frames kept coming for {limit:g} s although nothing should forward them")
        pump(peers, 0.05)
        for peer in peers:
            if peer.received:
                last = time.monotonic()
                peer.received.clear()
