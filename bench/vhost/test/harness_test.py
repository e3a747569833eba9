"""What the harness makes of runs, without running any: medians and shares, the table, the plot. Prints TAP."""

from __future__ import annotations

import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import latency, lines, plot, table  # noqa: E402
from harness.drivers import Busy, last_busy, make, socket_of  # noqa: E402
from harness.paths import PATHS, Case  # noqa: E402
from harness.process import Process, RunError, wait_for  # noqa: E402
from harness.runs import Run, run_of  # noqa: E402


DPDK = make("dpdk", "dpdk", None, Path("."))


def run(mpps: float, busy: float = 100.0, distance: float = 80.0, p99: float = 0.0) -> Run:
    times = {name: p99 for name in latency.QUANTILES}
    return Run("x", mpps, 0.1, {}, {}, distance, distance, busy,
               latency={"offered_mpps": 1.0, "ns": times, "probes": {"sent": 100, "returned": 98, "lost": 2}})


def row_with_limit() -> table.Row:
    row = table.Row(Case(PATHS["split-mergeable"]), 1.5)
    row.pairs = [table.Pair(run(10), run(40, 50), run(50, 40)), table.Pair(run(10), run(42, 50), run(50, 41)),
                 table.Pair(run(10), run(90, 50), run(50, 42, distance=400))]
    return row


class Tables(unittest.TestCase):
    def test_pairs_of_another_distance_are_left_out(self) -> None:
        summary = row_with_limit().summary()
        self.assertEqual((summary["pairs"], summary["kept"]), (3, 2))
        self.assertEqual((summary["ratio"]["min"], summary["ratio"]["max"]), (4.0, 4.2))

    def test_a_median_is_told_with_what_is_certain_of_it(self) -> None:
        self.assertEqual(table.median_interval([1.0] * 5), {})  # five may all lie on one side: 1 in 16
        self.assertEqual(table.median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]), {"low": 1.0, "high": 6.0})
        # Tables of binomial distributions: ranks 40 and 61 of 100.
        self.assertEqual(table.median_interval([float(value) for value in range(1, 101)]), {"low": 40.0, "high": 61.0})
        row = row_with_limit()
        self.assertIn("| 4.10 | - | 4.00..4.20 |", table.text([row], ("a", "b")))
        self.assertAlmostEqual(row.summary()["ratio_busy"]["median"], 0.5)

    def test_pairs_of_one_start_are_one_sample(self) -> None:
        row = row_with_limit()
        row.pairs *= 4
        self.assertEqual((row.summary()["starts"], "low" in row.summary()["ratio"]), (1, False))
        row.pairs = [table.Pair(run(10 + start), run((10 + start) * (2 + place)), start=start)
                     for start in range(6) for place in (0, 0, start)]  # ratios of 2, 2 and 2 to 7
        summary = row.summary()
        self.assertEqual((summary["kept"], summary["starts"]), (18, 6))
        self.assertEqual({name: summary["ratio"][name] for name in ("max", "median", "low", "high")},
                         {"max": 7.0, "median": 2.0, "low": 2.0, "high": 2.0})
        self.assertIn("| 18/18 | 6 |", table.text([row], ("a", "b")))
        # A of a start over A of the one before: 11/10 to 15/14.
        self.assertEqual((summary["ratio_a_a"]["max"], summary["ratio_a_a"]["min"]), (1.1, 15 / 14))

    def test_near_and_far_lines_are_rows_of_their_own(self) -> None:
        row = row_with_limit()
        self.assertEqual(row.by_line(200), [row])  # the pair of both belongs to neither
        row.pairs += [table.Pair(run(5, distance=300), run(30, distance=320))]
        row.failures = ["once"]
        near, far = row.by_line(200)
        self.assertEqual((near.summary()["ratio"]["median"], far.summary()["ratio"]["median"]), (4.1, 6.0))
        self.assertEqual((near.failures, far.failures), (["once"], []))
        self.assertEqual([part.summary()["kept"] for part in row.by_line(1000)], [3])

    def test_the_limit_is_a_share_in_rate_and_in_busy_time(self) -> None:
        limit = row_with_limit().summary()["limit"]
        self.assertAlmostEqual(limit["rate_share"]["median"], 0.82)
        self.assertAlmostEqual(limit["busy_share"]["median"], 0.81)
        self.assertAlmostEqual(limit["over_a"]["median"], 5.0)
        self.assertIn("| 0.82 | 0.80..0.84 |", table.limit_text([row_with_limit()], ("a", "b")))

    def test_latency_is_compared_pair_by_pair(self) -> None:
        rows = latency.rows_of(Case(PATHS["packed-in-order"]), [10, 90], 1.5)
        for one in rows:
            one.pairs = [table.Pair(run(10, p99=400), run(10, p99=200)), table.Pair(run(10, p99=400), run(10, p99=300))]
        self.assertAlmostEqual(rows[1].summary()["p99"]["ratio"]["median"], 0.625)
        self.assertAlmostEqual(rows[0].summary()["lost_a"], 0.02)
        self.assertIn("| packed-in-order/mac/1024 | 90% |", latency.text(rows, ("a", "b")))

    def test_lines_are_told_of_where_all_instructions_were_understood(self) -> None:
        row = row_with_limit()
        self.assertEqual(lines.text([row]), "")
        row.instructions = {"a": {"lines": {"per_packet": 3.25, "areas": {"rx used": 0.125, "own": 3.125}, "unknown": 0}},
                            "b": {"lines": {"per_packet": 2.0, "areas": {"elsewhere": 1.0}, "unknown": 0}},
                            "c": {"lines": {"per_packet": 2.0, "areas": {"own": 2.0}, "unknown": 7}}}
        said = lines.text([row])
        self.assertIn("| a | 3.25 | 0.00 | 0.00 | 0.12 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 3.12 |", said)
        self.assertIn("| b | instructions not understood: ['elsewhere'] | - |", said)
        self.assertIn("| c | at least 2.00 | 0.00 |", said)


class Plots(unittest.TestCase):
    def test_each_row_has_its_spread_its_median_and_its_pairs(self) -> None:
        picture = plot.svg([row_with_limit().summary()], ("dpdk", "spinring"))
        ElementTree.fromstring(picture)
        self.assertIn("split-mergeable/mac/1024", picture)
        self.assertIn(">4.10, 2 pairs<", picture)
        for colour in ("#1f5fbf", "#999999", "#e08020", "#1a8f3c"):
            self.assertIn(f'stroke="{colour}"', picture)

    def test_times_have_a_plot_as_well(self) -> None:
        rows = latency.rows_of(Case(PATHS["packed-in-order"]), [10], 1.5)
        rows[0].pairs = [table.Pair(run(10, p99=400), run(10, p99=200))]
        picture = plot.svg(latency.ratios(rows), ("dpdk", "spinring"), "Time of a round trip")
        self.assertIn("packed-in-order/mac/1024 10% p99.9", picture)
        self.assertIn(">0.50, 1 pairs<", picture)


class Sockets(unittest.TestCase):
    def test_each_port_has_its_own(self) -> None:
        self.assertEqual([str(socket_of(Path("/x/v.sock"), port)) for port in range(2)], ["/x/v.sock", "/x/v.sock1"])


class Processes(unittest.TestCase):
    def test_one_that_rests_is_ended_all_the_same(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            process = Process(["sleep", "60"], Path(folder) / "log")
            state = Path(f"/proc/{process.pid}/stat")
            process.rest()
            wait_for(lambda: state.read_text().split()[2] == "T", 10, "rest")
            process.proceed()
            wait_for(lambda: state.read_text().split()[2] == "S", 10, "end of its rest")
            process.rest()
            process.stop()
            self.assertFalse(process.running())
            process.rest()  # whoever has ended can do neither


class BusyTimes(unittest.TestCase):
    SAID = ("  CPU cycles/packet=20.00 (total cycles=2000 / total packets=100)\n"
            "  CPU cycles/packet=25.00 (total cycles=5000 / total io packets=200) at 2600 MHz Clock\n")

    def test_both_forwarders_say_it_in_dpdks_words(self) -> None:
        self.assertEqual(last_busy(self.SAID), Busy(5000, 200))
        self.assertEqual(last_busy(self.SAID.splitlines()[0]), Busy(2000, 100))
        self.assertIsNone(last_busy("nothing"))

    def test_what_was_before_the_window_does_not_count(self) -> None:
        self.assertEqual(Busy(5000, 200).a_packet_since(Busy(2000, 100)), 30.0)
        self.assertIsNone(Busy(5000, 200).a_packet_since(Busy(4000, 200)))


class Windows(unittest.TestCase):
    LINE = {"slices": {"kept": 100}, "mpps": {"rx": {"median": 1.0}, "tx": {"median": 2.0}}, "idle": 0.5, "violations": {},
            "path": {"packed": True, "in_order": True, "mergeable": False, "ring": 1024}}

    def of(self, **changed) -> Run:
        return run_of({**self.LINE, **changed}, Case(PATHS["packed-in-order"]), DPDK)

    def test_a_window_gives_the_rate_of_its_direction(self) -> None:
        self.assertEqual(self.of().mpps, 2.0)

    def test_a_driver_that_stopped_sending_is_no_figure(self) -> None:
        with self.assertRaisesRegex(RunError, "no frame came back"):
            self.of(mpps={"tx": {"median": 0.0}})
        with self.assertRaisesRegex(RunError, "negotiated"):
            self.of(path={**self.LINE["path"], "ring": 256})


def main() -> int:
    loader = unittest.defaultTestLoader
    tests = [test for case in (Tables, Plots, Sockets, Processes, BusyTimes, Windows) for test in loader.loadTestsFromTestCase(case)]
    print(f"1..{len(tests)}")
    bad = 0
    for number, test in enumerate(tests, 1):
        result = unittest.TestResult()
        test.run(result)
        bad += not result.wasSuccessful()
        print(f"{'ok' if result.wasSuccessful() else 'not ok'} {number} - {test.id().split('.', 1)[1]}")
        for _, text in result.failures + result.errors:
            print("# " + text.replace("\n", "\n# "))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
