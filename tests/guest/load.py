"""How much traffic there is to be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    probes: int  # pings, or frames of their own
    file_bytes: int
    seconds: int  # of iperf3
