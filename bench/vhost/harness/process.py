"""Processes of a run: started with their output in files, found by thread, ended for certain."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path as FilePath


class RunError(Exception):
    """A run that gave no figures; says what to look at."""


class Process:
    """One program of a run. Its standard input is a pipe that closes when the program is to end."""

    def __init__(self, words: list[str], log: FilePath) -> None:
        self.words = words
        self.log = log
        with log.open("w") as out:
            self._popen = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def input(self) -> int:
        """The descriptor of its standard input."""
        return self._popen.stdin.fileno()

    def running(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float) -> int:
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise RunError(f"{shlex.join(self.words)} did not end in {seconds:.0f} s:\n{tail(self.output())}") from error

    def say(self, line: str) -> None:
        os.write(self.input, (line + "\n").encode())

    def rest(self) -> None:
        """Takes it off its CPU until proceed()."""
        self._popen.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def stop(self, seconds: float = 10.0) -> None:
        """Asks it to end, by the end of its input and by a signal; takes it away if it does not."""
        self.proceed()  # one that rests would see neither
        if self._popen.stdin and not self._popen.stdin.closed:
            self._popen.stdin.close()
        for end in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            if not self.running():
                return
            self._popen.send_signal(end)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)

    def polling_thread(self) -> int:
        """The thread with the most CPU time; never the main one, which sets up and then waits, if there are others."""
        times = {}
        for task in FilePath(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
                times[int(task.name)] = int(fields[11]) + int(fields[12])
        if len(times) > 1:
            times.pop(self.pid, None)
        return max(times, key=times.__getitem__)


def tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])


def wait_for(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RunError(f"no {what} in {seconds:.0f} s")
        time.sleep(0.02)
