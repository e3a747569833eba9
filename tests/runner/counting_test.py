"""The counts that test.sh prints are right, above all where something failed without saying so."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "style"))

import sources  # noqa: E402
from counting import count_test  # noqa: E402
from machine import excuse  # noqa: E402

PASSED = "[ RUN      ] A.One\n[       OK ] A.One (0 ms)\n"
PARAM = "[ RUN      ] I/B.Two/0\nx.cpp:1: Failure\n[  FAILED  ] I/B.Two/0, where GetParam() = 4 (3 ms)\n"
SKIPPED = "[ RUN      ] A.Three\nx_test.cpp:9: Skipped\nneeds root\n\n[  SKIPPED ] A.Three (0 ms)\n"
SUMMARY = "[  PASSED  ] 1 test.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] I/B.Two/0, where GetParam() = 4\n"


def same(got, wanted):
    return [] if got == wanted else [f"got {got!r}, wanted {wanted!r}"]


def counts(result, output, wanted):
    return same(str(count_test("t", result, output)), wanted)


CASES = [
    ("gtest cases, the summary not again", counts("FAIL", PASSED + PARAM + SKIPPED + SUMMARY,
                                                  "1 passed, 1 failed, 1 skipped")),
    ("a skip's reason", same(count_test("t", "OK", SKIPPED).skips, [("t: A.Three", "needs root")])),
    ("a case that crashed", counts("FAIL", PASSED + "[ RUN      ] A.Crash\nAddressSanitizer: SEGV\n",
                                   "1 passed, 1 failed, 0 skipped")),
    ("a program that failed after its last case (a leak)", counts("FAIL", PASSED, "1 passed, 1 failed, 0 skipped")),
    ("a test that printed before its verdict", counts("OK", "[ RUN      ] A.One\nnoise[       OK ] A.One (0 ms)\n",
                                                      "1 passed, 0 failed, 0 skipped")),
    ("TAP points", counts("FAIL", "1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no clang\n",
                          "1 passed, 1 failed, 1 skipped")),
    ("a guest test's checks", counts("OK", "[  1.5 s] ok: it booted\n[ 12.0 s] ok: no loss\nPASS boot\n",
                                     "2 passed, 0 failed, 0 skipped")),
    ("a guest test that fails", counts("FAIL", "[  1.5 s] ok: it booted\nFAIL boot: not so: x\n",
                                       "1 passed, 1 failed, 0 skipped")),
    ("a program without cases", counts("OK", "done\n", "1 passed, 0 failed, 0 skipped")),
    ("a time-out", counts("TIMEOUT", "", "0 passed, 1 failed, 0 skipped")),
    ("exit 77 and why", same(count_test("t", "SKIP", "SKIP boot: no kernel 6.1\n").skips, [("t", "boot: no kernel 6.1")])),
    ("a reason this machine has", same(excuse("needs root", {"root": "this user is not root"}), "this user is not root")),
    ("a reason this machine does not have", same(excuse("needs root", {"kvm": "there is no /dev/kvm"}), None)),
    ("a skip without a reason", same(excuse("no reason given", {"root": "this user is not root"}), None)),
]

if __name__ == "__main__":
    sources.report(CASES)
