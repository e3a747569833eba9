#!/usr/bin/env python3
"""spinring-testpmd as a user runs it: exit codes, signals, prompt, statistics; its ports are QEMU's virtio-net models.

usage: program_test.py PROGRAM
"""
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = ""
LIMIT = 60  # seconds for any run: a machine under load takes long to start two models
PORTS = ["--no-huge", "--vdev", "qtest0,netdev=hub:0", "--vdev", "qtest1,netdev=hub:0"]


def cpus():
    """The CPUs for the main and the forwarding lcore: one if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return ",".join(str(cpu) for cpu in allowed[:2])


def command(*forward):
    return [PROGRAM, "-l", cpus(), *PORTS, "--", *forward]


def run(arguments, **more):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, check=False, **more)


def wait_for(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("no " + what)
        time.sleep(0.02)


class Options(unittest.TestCase):
    def test_a_mistake_is_named_and_exits_with_2(self):
        done = run([PROGRAM, *PORTS, "--", "--burst=1000"])
        self.assertEqual(done.returncode, 2)
        self.assertIn("--burst", done.stderr)
        self.assertIn("1 to 512", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_help_goes_to_standard_output(self):
        done = run([PROGRAM, "--help"])
        self.assertEqual(done.returncode, 0)
        self.assertIn("--forward-mode", done.stdout)

    def test_a_cpu_that_is_not_there_is_refused(self):
        done = run([PROGRAM, "-l", "4000", *PORTS])
        self.assertEqual(done.returncode, 1)
        self.assertIn("CPU 4000", done.stderr)

    def test_a_device_that_is_not_there_is_refused(self):
        done = run([PROGRAM, "-l", "0", "--no-huge", "-a", "ffff:1f:1f.7"])
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "ffff:1f:1f.7|/dev/vfio|IOMMU")

    def test_a_pool_too_small_says_how_many_it_takes(self):
        done = run(command("--total-num-mbufs=100"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("1056", done.stderr)

    def test_an_offload_that_the_device_lacks_is_refused_by_name(self):
        done = run(command("--enable-rx-cksum"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("rx-checksum", done.stderr)
        self.assertIn("vnet_hdr", done.stderr)

    def test_a_ring_that_the_device_lacks_is_refused_with_those_it_has(self):
        done = run(command("--rxd=100"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("power of two up to 256", done.stderr)


class Forwarding(unittest.TestCase):
    def check(self, stats):
        totals = stats["totals"]
        self.assertEqual(totals["rx"] + totals["generated"],
                         totals["tx"] + totals["tx_dropped"] + totals["tx_rejected"] + totals["consumed"])
        self.assertEqual(stats["pool"]["available"], stats["pool"]["capacity"])
        self.assertEqual([port["driver"] for port in stats["ports"]], ["virtio-net", "virtio-net"])
        self.assertTrue(all(port["rx_path"] for port in stats["ports"]))

    def test_a_duration_ends_in_json_alone_on_standard_output(self):
        for mode in ("io", "mac", "macswap"):
            with self.subTest(mode):
                done = run(command("--tx-first", "--forward-mode=" + mode, "--duration=0.5", "--stats-period=0.2", "--json=-"))
                self.assertEqual(done.returncode, 0, done.stderr)
                stats = json.loads(done.stdout)
                self.check(stats)
                self.assertGreater(stats["totals"]["rx"], 64)
                self.assertGreaterEqual(stats["totals"]["duration_s"], 0.5)
                self.assertGreater(stats["lcores"][0]["cycles_per_packet"], 0)
                self.assertIn("Accumulated forward statistics", done.stderr)
                self.assertIn("--no-huge", done.stderr, "a warning")

    def test_txonly_sends_and_rxonly_receives(self):
        done = run(command("--forward-mode=txonly", "--txpkts=128", "--duration=0.3", "--json=-"))
        self.assertEqual(done.returncode, 0, done.stderr)
        stats = json.loads(done.stdout)
        self.check(stats)
        for port in stats["ports"]:
            sent = port["queues"][0]["tx"]
            self.assertGreater(sent["packets"], 0)
            self.assertEqual(sent["bytes"], 128 * sent["packets"])
        self.assertEqual(stats["totals"]["generated"], stats["totals"]["tx"] + stats["totals"]["tx_dropped"])
        done = run(command("--forward-mode=rxonly", "--duration=0.1", "--json=-"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(json.loads(done.stdout))

    def test_one_cpu_is_enough(self):
        done = run([PROGRAM, "-l", cpus().split(",", maxsplit=1)[0], *PORTS, "--", "--tx-first", "--duration=0.5", "--json=-"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(json.loads(done.stdout))
        self.assertEqual(len(json.loads(done.stdout)["lcores"]), 1)

    def test_a_signal_ends_it_with_statistics(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number), tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "stats.json")
                log = os.path.join(folder, "log")
                with open(log, "wb") as out:
                    program = subprocess.Popen(command("--tx-first", "--json", path), stdout=out, stderr=out)
                wait_for(lambda: log_has(log, "port 1 (qtest1): virtio-net started"), "start of port 1")
                time.sleep(0.2)
                program.send_signal(number)
                self.assertEqual(program.wait(LIMIT), 0)
                self.assertTrue(log_has(log, "Accumulated forward statistics"))
                with open(path, encoding="utf-8") as file:
                    self.check(json.load(file))
                self.assertEqual(sorted(os.listdir(folder)), ["log", "stats.json"])


def log_has(path, text):
    with open(path, encoding="utf-8", errors="replace") as file:
        return text in file.read()


class PromptCommands(unittest.TestCase):
    def test_commands_come_from_a_pipe(self):
        script = "show config fwd\nstart tx_first\nshow port info all\nstop\nset fwd macswap\nstart\nstop\nquit\n"
        done = run(command("-i"), input=script)
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("RX port 0 queue 0 -> TX port 1 queue 0", "Device name: qtest1", "Set macswap", "Bye"):
            self.assertIn(text, done.stdout)
        self.assertEqual(done.stdout.count("Accumulated forward statistics"), 3, "two stops and the end")

    def test_the_end_of_input_ends_it(self):
        done = run(command("-i", "-a"), input="")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_commands_come_from_a_terminal(self):
        master, slave = pty.openpty()
        program = subprocess.Popen(command("-i"), stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        seen = b""

        def read_until(text):
            nonlocal seen
            end = time.monotonic() + LIMIT
            while text not in seen:
                ready, _, _ = select.select([master], [], [], max(0, end - time.monotonic()))
                self.assertTrue(ready, f"no {text!r} in {seen!r}")
                seen += os.read(master, 4096)

        try:
            read_until(b"spinring-testpmd> ")
            os.write(master, b"start tx_first\n")
            read_until(b"Forwarding")
            os.write(master, b"show port stats 0\n")
            read_until(b"NIC statistics for port 0")
            os.write(master, b"quit\n")
            read_until(b"Accumulated forward statistics")
            while True:
                try:
                    if not os.read(master, 4096):
                        break
                except OSError:
                    break  # Linux says EIO when the other side has gone
            self.assertEqual(program.wait(LIMIT), 0)
        finally:
            program.kill()
            program.wait()
            os.close(master)


if __name__ == "__main__":
    if shutil.which("qemu-system-x86_64") is None:
        print("skipped: qemu-system-x86_64 is not installed")
        sys.exit(77)
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
