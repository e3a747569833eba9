"""A device is told to write to, and to read from, memory that is not mapped for it (dma_fault.cpp). The virtual IOMMU
blocks it and says so in the guest's log, no byte that is not the driver's changes or leaks, and after a restart of the
port traffic flows.

Two devices, because virtio does not say what a device does whose access is blocked. QEMU's usual virtio-net does not
notice: it completes the buffer. With no room for bounce buffers it finds that it cannot reach the memory, stops, and
sets DEVICE_NEEDS_RESET.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, closing

import traffic
from errors import HarnessError
from harness import Arguments, Report, main
from machine import Guest, GuestConfig, Iommu, Nic
from wire import StreamPeer, pump

PROGRAM = "dma_fault"
LOG = "/tmp/dma_fault.log"
HELLO = traffic.frame(b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", b"hello")
# The kernel's limit (DEFAULT_RATELIMIT_INTERVAL) is ten lines in five seconds, and a blocked frame can make as many.
LOG_PAUSE_SECONDS = 5.5
FRAMES_BACK = 100  # dma_fault.cpp: at least
CANARY = b"\xc5" * 16
SECRET = b"\x5a" * 16  # what the frame held that the device should have read


def wait_for(guest: Guest, mark: str, peer: StreamPeer, outside: list[bytes], feed: bool = False) -> str:
    """Until the program says a line that begins with the pattern `mark`; meanwhile frames go in, if `feed`, and what
    comes out is kept. Returns the line."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        for _ in range(20):
            if feed and peer.unsent() < 1024:
                peer.queue(HELLO)
            pump([peer], 0.01)
        outside += [frame for frame in peer.received if frame != HELLO]
        peer.received.clear()
        log = guest.text(f"cat {LOG}")
        found = re.search(rf"^{mark}.*$", log, re.MULTILINE)
        if found:
            return found.group(0)
        if "error:" in log or "usage:" in log:
            break
    raise HarnessError(f"dma_fault did not get to {mark!r}:\n{guest.text(f'cat {LOG}')}")


def fault_lines(kernel_log: str, iommu: Iommu, address: str, forbidden: int, write: bool) -> list[str]:
    """The lines in which the guest's IOMMU driver reports this device's access to this address."""
    if iommu == "intel":
        kind = "Write" if write else "Read"
        pattern = rf"DMAR: \[DMA {kind}[^\]]*\] Request device \[{address[5:]}\] fault addr {forbidden:#x} "
    else:
        bus, slot, function = (int(part, 16) for part in re.split("[:.]", address[5:]))
        endpoint = bus << 8 | slot << 3 | function
        # QEMU's virtio-iommu does not say whether it was a read; dmesg is cleared in between.
        pattern = rf"virtio_iommu.*fault from EP {endpoint} at {forbidden:#x} "
    return re.findall(rf"^.*{pattern}.*$", kernel_log, re.MULTILINE)


def provoke(guest: Guest, peer: StreamPeer, nic: int, stops: bool, arguments: Arguments, report: Report) -> None:
    """Runs the program on one device and judges what it says, what came out, and what the kernel logged."""
    address = guest.pci_address(nic)
    outside: list[bytes] = []
    guest.run(f"dmesg -c >/dev/null; {PROGRAM} {address} >{LOG} 2>&1 &")
    canaries = wait_for(guest, "canaries:", peer, outside)
    forbidden = int(canaries.split()[-1], 16)
    report.say(f"{address}: {canaries}")

    for stage, write in (("write", True), ("read", False)):
        if write:
            wait_for(guest, "write: send me a frame", peer, outside)
            peer.queue(HELLO)  # one: the kernel logs few faults in a while
        else:
            wait_for(guest, "read: sent", peer, outside)
        report.say(f"{address}: {wait_for(guest, f'{stage}: counted', peer, outside)}")
        port = wait_for(guest, f"{stage}: port:", peer, outside)
        report.check(("DEVICE_NEEDS_RESET" in port) == stops, f"{address}: {port}")
        untouched = wait_for(guest, f"{stage}: canaries", peer, outside)
        report.check(untouched.endswith("intact"), f"{address}: {untouched}")
        log = guest.text("dmesg -c")
        lines = fault_lines(log, arguments.iommu, address, forbidden, write)
        report.check(bool(lines), f"the guest's log has the blocked {stage}: {lines[0] if lines else log[-1500:]}")
        wait_for(guest, f"after {stage}: send me", peer, outside)
        time.sleep(LOG_PAUSE_SECONDS)
        back = wait_for(guest, f"after {stage}: [0-9]+ frames sent back", peer, outside, feed=True)
        report.check(int(back.split()[2]) >= FRAMES_BACK, f"{address}: {back}")

    end = wait_for(guest, "end:", peer, outside)
    report.check(end.endswith("intact") and "2048 of 2048" in end, f"{address}: {end}")
    leaked = [frame for frame in outside if CANARY in frame or SECRET in frame]
    report.check(not leaked, f"{address}: none of the {len(outside)} frames that the device made up has a byte of ours")


def run(arguments: Arguments, report: Report) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(closing(StreamPeer())) for _ in range(2)]
        nics = [Nic(peers[0], "52:54:00:5b:00:01"), Nic(peers[1], "52:54:00:5b:00:02", options="x-max-bounce-buffer-size=1")]
        config = GuestConfig(arguments.kernel, arguments.iommu, nics, {PROGRAM: arguments.program})
        guest = stack.enter_context(Guest(config, arguments.logs))
        report.say(f"the guest is up: {guest.text('uname -r')}, {guest.accelerator}, after {guest.boot_seconds:.1f} s")
        for nic, peer in enumerate(peers):
            peer.accept()
            provoke(guest, peer, nic, nic == 1, arguments, report)


if __name__ == "__main__":
    main("guest DMA fault", run)
