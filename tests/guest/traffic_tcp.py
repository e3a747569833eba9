"""Real traffic between two hosts that reach each other only through the guest: ping, a file over HTTP, iperf3."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

from errors import HarnessError
from harness import Report
from load import Load
from namespaces import Counters, Host

HTTP_PORT = 8080
IPERF_PORT = 5201  # its default


def first_ping(report: Report, left: Host, right: Host) -> None:
    """A NIC that was started a moment ago may not be receiving yet."""
    end = time.monotonic() + 30
    started = time.monotonic()
    while not left.reaches(right):
        if time.monotonic() > end:
            raise HarnessError(f"{right.address} answers no ping after 30 s")
    report.say(f"the first answer came after {time.monotonic() - started:.2f} s")


def ping(report: Report, left: Host, right: Host, count: int) -> None:
    text = left.run("ping", "-c", str(count), "-i", "0.1", "-W", "5", right.address)
    loss = re.search(r"(\d+) packets transmitted, (\d+) received.* ([\d.]+)% packet loss", text)
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", text)
    if not loss or not times:
        raise HarnessError(f"ping said something unexpected:\n{text}")
    report.check(float(loss.group(3)) == 0.0,
                 f"ping: {loss.group(2)} of {loss.group(1)} answered, {loss.group(3)} % loss, "
                 f"round trip {times.group(1)}/{times.group(2)}/{times.group(3)} ms (min/avg/max)")


def file_over_http(report: Report, left: Host, right: Host, size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="spinring-http-") as name:
        folder = Path(name)
        content = os.urandom(size)
        (folder / "file").write_bytes(content)
        with right.serving(HTTP_PORT, "python3", "-m", "http.server", str(HTTP_PORT), "--bind", right.address, folder=folder):
            got = folder / "got"
            started = time.monotonic()
            left.run("curl", "-sS", "--fail", "--max-time", "120", "-o", str(got), f"http://{right.address}:{HTTP_PORT}/file",
                     timeout=150)
            took = time.monotonic() - started
        sent, received = (hashlib.sha256(data).hexdigest() for data in (content, got.read_bytes()))
        report.check(sent == received, f"HTTP: {size >> 20} MiB in {took:.1f} s "
                                       f"({size * 8 / took / 1e6:.0f} Mbit/s), SHA-256 {sent[:16]}... equal")


def iperf(report: Report, left: Host, right: Host, seconds: int) -> None:
    with right.serving(IPERF_PORT, "iperf3", "--server", "--bind", right.address, "--one-off"):
        result = left.json("iperf3", "--client", right.address, "--time", str(seconds), "--json", timeout=seconds + 30)
    received = result["end"]["sum_received"]
    sent = result["end"]["sum_sent"]
    report.check(received["bits_per_second"] > 0,
                 f"iperf3: {received['bits_per_second'] / 1e6:.0f} Mbit/s over {seconds} s, "
                 f"{sent['retransmits']} segments sent again")


def nothing_lost(report: Report, hosts: tuple[Host, Host], before: list[Counters]) -> None:
    """Each frame that QEMU took from one host came out at the other, and none was dropped before."""
    end = time.monotonic() + 10  # a frame may be under way
    while True:
        now = [host.counters() for host in hosts]
        sent = [after.sent - then.sent for after, then in zip(now, before)]
        received = [after.received - then.received for after, then in zip(now, before)]
        if sent == received[::-1] or time.monotonic() > end:
            break
        time.sleep(0.1)
    dropped = [host.dropped for host in now]
    report.check(sent == received[::-1] and not any(dropped),
                 f"no frame was lost: {sent} sent, {received} received, {dropped} dropped by the hosts (left, right)")


def run_all(report: Report, left: Host, right: Host, load: Load) -> None:
    first_ping(report, left, right)
    before = [left.counters(), right.counters()]
    ping(report, left, right, load.probes)
    file_over_http(report, left, right, load.file_bytes)
    iperf(report, left, right, load.seconds)
    nothing_lost(report, (left, right), before)
