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
from namespaces import Host

PINGS = 20
FILE_BYTES = 32 << 20
IPERF_SECONDS = 10
HTTP_PORT = 8080
IPERF_PORT = 5201  # its default


def ping(report: Report, left: Host, right: Host) -> None:
    # The first one also resolves the neighbour; it may take as long as it likes within its deadline, not be lost.
    text = left.run("ping", "-c", str(PINGS), "-i", "0.1", "-W", "5", right.address)
    loss = re.search(r"(\d+) packets transmitted, (\d+) received.* ([\d.]+)% packet loss", text)
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", text)
    if not loss or not times:
        raise HarnessError(f"ping said something unexpected:\n{text}")
    report.check(float(loss.group(3)) == 0.0,
                 f"ping: {loss.group(2)} of {loss.group(1)} answered, {loss.group(3)} % loss, "
                 f"round trip {times.group(1)}/{times.group(2)}/{times.group(3)} ms (min/avg/max)")


def file_over_http(report: Report, left: Host, right: Host) -> None:
    with tempfile.TemporaryDirectory(prefix="spinring-http-") as name:
        folder = Path(name)
        content = os.urandom(FILE_BYTES)
        (folder / "file").write_bytes(content)
        right.serve("python3", "-m", "http.server", str(HTTP_PORT), "--bind", right.address, folder=folder)
        right.wait_for_listener(HTTP_PORT)
        got = folder / "got"
        started = time.monotonic()
        left.run("curl", "-sS", "--fail", "--max-time", "120", "-o", str(got), f"http://{right.address}:{HTTP_PORT}/file", timeout=150)
        took = time.monotonic() - started
        sent, received = (hashlib.sha256(data).hexdigest() for data in (content, got.read_bytes()))
        report.check(sent == received, f"HTTP: {FILE_BYTES >> 20} MiB in {took:.1f} s "
                                       f"({FILE_BYTES * 8 / took / 1e6:.0f} Mbit/s), SHA-256 {sent[:16]}... equal")


def iperf(report: Report, left: Host, right: Host) -> None:
    right.serve("iperf3", "--server", "--bind", right.address, "--one-off")
    right.wait_for_listener(IPERF_PORT)
    result = left.json("iperf3", "--client", right.address, "--time", str(IPERF_SECONDS), "--json",
                       timeout=IPERF_SECONDS + 30)
    received = result["end"]["sum_received"]
    sent = result["end"]["sum_sent"]
    report.check(received["bits_per_second"] > 0,
                 f"iperf3: {received['bits_per_second'] / 1e6:.0f} Mbit/s over {IPERF_SECONDS} s, "
                 f"{sent['retransmits']} segments sent again")


def run_all(report: Report, left: Host, right: Host) -> None:
    ping(report, left, right)
    file_over_http(report, left, right)
    iperf(report, left, right)
