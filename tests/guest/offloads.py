"""IP frames whose checksums are computed here, as RFC 1071 says, and what a device is to make of them: offload_echo.cpp is
the other side."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

TCP, UDP = 6, 17
VLAN, TCI, MSS = 5, 0x2005, 1000
NOTHING, CHECKSUMS, TAG, SEGMENTS, BOTH, END = 0, 1, 2, 3, 4, 9  # what the echo is asked for


def sender(wish: int) -> bytes:
    return bytes((2, 0, 0, 0, 0xAB, wish))


def ones_complement_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Flow:
    ipv6: bool
    protocol: int

    def pseudo_header(self, length: int) -> bytes:
        if self.ipv6:
            return self._addresses() + struct.pack(">II", length, self.protocol)
        return self._addresses() + struct.pack(">HH", self.protocol, length)

    def _addresses(self) -> bytes:
        one, other = (0x0A, 0x0B)
        return bytes(15 * [0xFD] + [one] + 15 * [0xFD] + [other]) if self.ipv6 else bytes((10, 0, 0, one, 10, 0, 0, other))

    def l3_header(self, length: int, identification: int = 7) -> bytes:
        """With its checksum, of a packet whose L4 has that many bytes."""
        if self.ipv6:
            return struct.pack(">IHBB", 0x60000000, length, self.protocol, 64) + self._addresses()
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, identification, 0, 64, self.protocol, 0)
        checksum = 0xFFFF ^ ones_complement_sum(head + self._addresses())
        return head[:10] + struct.pack(">H", checksum) + self._addresses()

    def l4(self, payload: bytes, sequence: int = 1000, flags: int = 0x10) -> bytes:
        """With checksum 0."""
        if self.protocol == UDP:
            return struct.pack(">HHHH", 1234, 4321, 8 + len(payload), 0) + payload
        return struct.pack(">HHIIBBHHH", 1234, 443, sequence, 99, 0x50, flags, 1024, 0, 0) + payload

    def packet(self, payload: bytes, whole: bool, sequence: int = 1000, identification: int = 7) -> bytes:
        """IP and above. Whole: as on the wire; else as a sender leaves it to its device: the pseudo-header's sum in L4's
        checksum, none in IP's."""
        l4 = self.l4(payload, sequence)
        at = 6 if self.protocol == UDP else 16
        pseudo = self.pseudo_header(len(l4))
        checksum = (0xFFFF ^ ones_complement_sum(pseudo + l4)) or 0xFFFF if whole else ones_complement_sum(pseudo)
        l3 = self.l3_header(len(l4), identification)
        if not whole and not self.ipv6:
            l3 = l3[:10] + bytes(2) + l3[12:]
        return l3 + l4[:at] + struct.pack(">H", checksum) + l4[at + 2:]


FLOWS = [Flow(ipv6, protocol) for ipv6 in (False, True) for protocol in (TCP, UDP)]


def ethernet(destination: bytes, source: bytes, flow: Flow, packet: bytes, tci: int | None = None) -> bytes:
    tag = b"" if tci is None else struct.pack(">HH", 0x8100, tci)
    return destination + source + tag + (b"\x86\xdd" if flow.ipv6 else b"\x08\x00") + packet


@dataclass(frozen=True)
class Case:
    """A frame for the echo, and what comes back."""

    name: str
    sent: bytes
    back: list[bytes]


def cases(nic: bytes, sizes: tuple[int, ...]) -> list[Case]:
    """Each wish and each flow, with payloads of these sizes; `nic` is the echo's address."""
    dice = random.Random(5)
    found = []
    for flow in FLOWS:
        for size in sizes:
            payload = dice.randbytes(size)
            whole, left = flow.packet(payload, whole=True), flow.packet(payload, whole=False)
            for name, wish, packet, tci in (("plain", NOTHING, whole, None), ("checksums", CHECKSUMS, left, None),
                                            ("tag", TAG, whole, TCI), ("checksums and tag", BOTH, left, TCI)):
                found.append(Case(f"{name}, {flow}, {size} bytes", ethernet(nic, sender(wish), flow, packet),
                                  [ethernet(sender(wish), nic, flow, whole, tci)]))
            # One that arrives with a tag of the VLAN goes back without: the device has taken it out.
            found.append(Case(f"strip, {flow}, {size} bytes", ethernet(nic, sender(NOTHING), flow, whole, VLAN),
                              [ethernet(sender(NOTHING), nic, flow, whole)]))
        if flow.protocol == TCP:
            for size in (1001, 5 * MSS - 1, 8000):
                payload = dice.randbytes(size)
                pieces = [flow.packet(payload[at: at + MSS], whole=True, sequence=1000 + at, identification=7 + at // MSS)
                          for at in range(0, size, MSS)]
                found.append(Case(f"segments, {flow}, {size} bytes",
                                  ethernet(nic, sender(SEGMENTS), flow, flow.packet(payload, whole=False)),
                                  [ethernet(sender(SEGMENTS), nic, flow, piece) for piece in pieces]))
    return found


def bad_ones(nic: bytes) -> list[bytes]:
    """Frames with a checksum that is wrong, which come back as they are."""
    found = []
    for flow in FLOWS:
        packet = bytearray(flow.packet(bytes(range(100)), whole=True))
        packet[-1] ^= 1
        found.append(ethernet(nic, sender(NOTHING), flow, bytes(packet)))
    return found
