"""Virtual functions in the guest: made by the kernel's driver of the physical function, as an administrator does it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from errors import HarnessError, Unavailable
from machine import Guest

# busybox's ip does not know "vf".
IP = "iproute2"
# QUIRK(QEMU igb): a frame for a virtual function whose ring is empty is lost, as the physical function's ring has buffers;
# a NIC would let it wait. A ring of this size has room for all that two hosts have under way (namespaces.WINDOW).
RINGS = "--rxd=4096"


def programs() -> dict[str, Path]:
    """What the guest needs for this."""
    found = shutil.which("ip")
    if found is None:
        raise Unavailable("iproute2 is not installed: apt-get install iproute2")
    return {IP: Path(found)}


class PhysicalFunction:
    """A NIC of the guest whose driver makes one virtual function. Its interface is up, and says nothing by itself."""

    def __init__(self, guest: Guest, nic: int) -> None:
        self._guest = guest
        self.address = guest.pci_address(nic)
        self._device = f"/sys/bus/pci/devices/{self.address}"
        self.interface = guest.text(f"ls {self._device}/net 2>/dev/null || true")
        if not self.interface:
            raise Unavailable(f"this kernel has no driver for the physical function {self.address}: "
                              f"use one with every driver, 6.12-full")
        guest.run(f"echo 1 >/proc/sys/net/ipv6/conf/{self.interface}/disable_ipv6")
        self.up()

    def create(self, mac: str) -> str:
        """Makes the virtual function and gives it its address; empty: it gets none. Returns where it is."""
        self._guest.run(f"echo 1 >{self._device}/sriov_numvfs")
        if mac:
            self._guest.run(f"{IP} link set {self.interface} vf 0 mac {mac}")
        return self._guest.text(f"basename $(readlink {self._device}/virtfn0)")

    def knows(self, mac: str) -> bool:
        """Whether that is its virtual function's address."""
        return mac in self._guest.text(f"{IP} link show {self.interface}")

    def up(self) -> None:
        self._guest.run(f"ip link set {self.interface} up")
        end = time.monotonic() + 30
        while self._guest.text(f"cat /sys/class/net/{self.interface}/carrier") != "1":
            if time.monotonic() > end:
                raise HarnessError(f"{self.interface} has no link after 30 s")
            time.sleep(0.1)

    def down(self) -> None:
        self._guest.run(f"ip link set {self.interface} down")
