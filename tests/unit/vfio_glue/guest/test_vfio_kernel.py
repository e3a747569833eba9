"""vfio_glue against a real kernel's VFIO (vfio_kernel.cpp): binding, maps, interrupts of every kind, resets, refusals,
hot-unplug."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack, closing
from pathlib import Path

from errors import HarnessError
from harness import Arguments, Report, main
from machine import Guest, GuestConfig, Nic
from wire import StreamPeer

PROGRAM = "vfio_kernel"
DEVBIND = "spinring-devbind"
LOG = "/tmp/vfio_kernel.log"


def bind_and_restore(guest: Guest, address: str, report: Report) -> None:
    """spinring-devbind, as a user would."""
    before = guest.driver_of(address)
    report.check(before in guest.text(f"{DEVBIND} --status"), f"{address} is listed with {before}")
    report.say(guest.text(f"{DEVBIND} --bind {address}"))
    report.check(guest.driver_of(address) == "vfio-pci", f"{address} is bound to vfio-pci")
    report.say(guest.text(f"{DEVBIND} --restore {address}"))
    report.check(guest.driver_of(address) == before, f"{address} is back with {before}")
    refused = guest.run(f"{DEVBIND} --bind 0000:77:00.0", check=False)
    report.check(refused.status == 1 and "no such PCI device" in refused.output, f"refused: {refused.output.strip()}")


def where_it_hangs(guest: Guest) -> str:
    """What the kernel says of a program that does not end: where each thread and each CPU is, and the interrupts."""
    return guest.run(f"for p in $(pidof {PROGRAM}); do cd /proc/$p; cat wchan stack; grep -E 'State|Name|ctxt' status; done; "
                     "cat /proc/interrupts; dmesg -c >/dev/null; echo l >/proc/sysrq-trigger; echo w >/proc/sysrq-trigger; "
                     "sleep 1; dmesg", check=False).output


def run(arguments: Arguments, report: Report) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(closing(StreamPeer())) for _ in range(3)]
        nics = [
            # Two functions of one device, without access control between them: one IOMMU group.
            Nic(peers[0], "52:54:00:5b:01:01", options="multifunction=on,addr=0x0"),
            Nic(peers[1], "52:54:00:5b:01:02", options="bus=rp0,addr=0x0.0x1"),
            Nic(peers[2], "52:54:00:5b:01:03", "igb"),
        ]
        # One CPU: nothing here changes the memory map as often as these tests do (machine.EMULATOR_FAILURES).
        config = GuestConfig(arguments.kernel, arguments.iommu, nics, {
            PROGRAM: arguments.program, DEVBIND: Path(os.environ["SPINRING_DEVBIND"])}, cpus=1)
        guest = stack.enter_context(Guest(config, arguments.logs))
        report.say(f"the guest is up: {guest.text('uname -r')}, {guest.accelerator}, after {guest.boot_seconds:.1f} s")
        single = guest.pci_address(2)
        places = [*guest.pci_functions(0), single]  # behind the first port are two functions
        bind_and_restore(guest, places[1], report)
        guest.run(f"({PROGRAM} {' '.join(places)} 2>&1; echo 'ended with '$?) >{LOG} &")
        end = time.monotonic() + 120
        unplugged = False
        while True:
            log = guest.text(f"cat {LOG}")
            if "unplug me" in log and not unplugged:
                guest.qmp("device_del", id="nic2")
                unplugged = True
            if re.search(r"^ended with", log, re.MULTILINE):
                break
            if time.monotonic() > end:
                raise HarnessError(f"the program is not done:\n{log}\n{where_it_hangs(guest)}")
            time.sleep(0.2)
        for line in re.findall(r"^(?:aperture|page sizes|refusal|INTx|MSI|MSI-X|preflight|asked).*$", log, re.MULTILINE):
            report.say(line)
        failed = re.findall(r"^\[  FAILED  \] .*$", log, re.MULTILINE)
        good = not failed and "ended with 0" in log
        report.check(good, f"{len(re.findall('OK ]', log))} checks against the kernel" if good else log)
        time.sleep(0.5)
        report.check(single not in guest.text("ls /sys/bus/pci/devices"), "the unplugged device has gone")


if __name__ == "__main__":
    main("guest VFIO", run)
