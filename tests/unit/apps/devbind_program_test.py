#!/usr/bin/env python3
"""spinring-devbind as a user runs it, on the machine as it is.

usage: devbind_program_test.py PROGRAM
"""
import subprocess
import sys
import unittest

PROGRAM = ""
LIMIT = 60  # seconds


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)


class Preflight(unittest.TestCase):
    def test_without_devices_it_checks_the_machine_alone(self):
        done = run("--preflight")
        self.assertEqual(done.stderr, "")
        findings = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
        self.assertTrue(any("IOMMU" in line for line in findings), done.stdout)
        bad = [line for line in findings if not line.startswith("ok ")]
        self.assertEqual(done.returncode, 1 if bad else 0, done.stdout)

    def test_what_is_no_address_is_named(self):
        done = run("--preflight", "eth0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("eth0", done.stderr)


class Status(unittest.TestCase):
    def test_it_is_what_the_program_says_unasked(self):
        done = run()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("address"), done.stdout)
        self.assertEqual(done.stdout, run("--status").stdout)

    def test_a_mistake_exits_with_an_error_and_changes_nothing(self):
        done = run("--driver", "e1000")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--driver", done.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
