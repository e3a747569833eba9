"""Frames that prove what a forwarder did with them: sent into one NIC, compared as they come out of the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from errors import HarnessError
from wire import StreamPeer, drain, pump

PAYLOAD_AT = 14  # after the Ethernet header
# Frames under way in one direction: fewer than any ring holds, so that whatever is missing was lost, not crowded out.
WINDOW = 64
OTHER = b"\x02\x00\x00\x00\xaa\x02"  # nobody's address

Rewrite = Callable[[bytes], bytes]  # what the forwarder makes of a frame


def unchanged(frame: bytes) -> bytes:
    """io forwarding."""
    return frame


def frame(source: bytes, destination: bytes, payload: bytes) -> bytes:
    """An Ethernet II frame of the local experimental type 0x88b5 (IEEE 802), at least 60 bytes long."""
    return (destination + source + b"\x88\xb5" + payload).ljust(60, b"\0")


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def random_frames(count: int, seed: int, destination: bytes = OTHER, longest: int = 1514) -> list[bytes]:
    """Frames of 60 to `longest` bytes, the shortest and the longest among them, each one different."""
    dice = random.Random(seed)
    frames = []
    for number in range(count):
        size = (60, longest)[number] if number < 2 else dice.randint(60, longest)
        payload = number.to_bytes(8, "big") + dice.randbytes(size - PAYLOAD_AT - 8)
        frames.append(frame(b"\x02\x00\x00\x00\xaa\x01", destination, payload))
    return frames


@dataclass
class Stream:
    """One direction: frames to send at one end and to see at the other, in order and byte for byte."""

    name: str
    source: StreamPeer
    sink: StreamPeer
    frames: list[bytes]
    rewrite: Rewrite = unchanged
    on_frame: Callable[[bytes], None] = lambda frame: None  # is shown each frame that arrived as it should
    sent: int = 0
    seen: int = 0

    def feed(self) -> None:
        while self.sent < len(self.frames) and self.sent - self.seen < WINDOW:
            self.source.queue(self.frames[self.sent])
            self.sent += 1

    def compare(self) -> None:
        while self.sink.received:
            got = self.sink.received.popleft()
            if self.seen == len(self.frames):
                raise HarnessError(f"{self.name}: one frame more than was sent: {got[:32].hex()}...")
            wanted = self.rewrite(self.frames[self.seen])
            if got != wanted:
                raise HarnessError(f"{self.name}: frame {self.seen} of {len(wanted)} bytes came out as {len(got)} bytes, "
                                   f"from byte {first_difference(got, wanted)} on different\n"
                                   f"  wanted {wanted[:48].hex()}\n  got    {got[:48].hex()}")
            self.on_frame(got)
            self.seen += 1

    def done(self) -> bool:
        return self.seen == len(self.frames)


def first_difference(a: bytes, b: bytes) -> int:
    for index, (left, right) in enumerate(zip(a, b)):
        if left != right:
            return index
    return min(len(a), len(b))


def exchange(streams: list[Stream], timeout: float) -> float:
    """Runs all streams to their end, and a moment longer for frames that should not be there; returns the seconds it
    took."""
    peers = list({id(peer): peer for stream in streams for peer in (stream.source, stream.sink)}.values())
    started = time.monotonic()
    while not all(stream.done() for stream in streams):
        if time.monotonic() - started > timeout:
            counts = ", ".join(f"{s.name}: {s.seen} of {len(s.frames)} seen, {s.sent} sent" for s in streams)
            raise HarnessError(f"after {timeout:g} s frames are missing: {counts}")
        for stream in streams:
            stream.feed()
        pump(peers, 0.1)
        for stream in streams:
            stream.compare()
    took = time.monotonic() - started
    settled = time.monotonic() + 0.2
    while time.monotonic() < settled:
        pump(peers, 0.05)
        for stream in streams:
            stream.compare()
    return took


class Flood:
    """Numbered frames into one NIC as fast as it takes them, and a look at what comes out of the other."""

    MARK = b"flood"

    def __init__(self, source: StreamPeer, sink: StreamPeer) -> None:
        self._source = source
        self._sink = sink
        self._number = 0

    def run(self, seconds: float, until_first: bool = False) -> int:
        """Sends and receives for `seconds`, or until the first frame arrives; returns how many arrived."""
        count = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while self._source.unsent() < 16384:
                self._source.queue(frame(b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02",
                                         self.MARK + self._number.to_bytes(8, "big")))
                self._number += 1
            pump([self._source, self._sink], 0.02)
            for got in self._sink.received:
                if got[PAYLOAD_AT: PAYLOAD_AT + len(self.MARK)] != self.MARK:
                    raise HarnessError(f"a frame that was never sent came out: {got[:32].hex()}")
                count += 1
            self._sink.received.clear()
            if until_first and count:
                break
        return count


def wait_until_forwarding(source: StreamPeer, sink: StreamPeer, timeout: float,
                          destination: bytes = OTHER) -> float:
    """Sends a probe every few milliseconds until one comes out; returns the seconds that took, and leaves nothing under
    way. (What is sent earlier may be lost without anybody's fault: QEMU throws away the frames that wait for a device
    when its driver resets it.)"""
    probe = frame(b"\x02\0\0\0\0\x03", destination, b"probe")
    started = time.monotonic()
    while not sink.received:
        if time.monotonic() - started > timeout:
            raise HarnessError(f"nothing was forwarded within {timeout:g} s")
        if source.unsent() < 1024:
            source.queue(probe)
        pump([source, sink], 0.005)
        time.sleep(0.005)
    took = time.monotonic() - started
    drain([source, sink])
    return took
