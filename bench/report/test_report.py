"""Tests of the report: the figures are computed from samples as documented. Run by `./test`.

No process is started here and nothing is measured.
"""

import unittest
from pathlib import Path

from report.figures import Figures, percentile
from report.numbers import number, text
from report.tables import all_tables, summary
from rig.event_reader import Stream


def samples(path, values, measure="calls"):
    return [{"measure": measure, "path": path, "case": "32", "round": turn, "value": value, "unit": "1/s"}
            for turn, value in enumerate(values)]


class Report(unittest.TestCase):
    def test_a_figure_is_the_median_of_the_rounds_with_their_spread(self):
        self.assertEqual(text(Figures(samples("rathole", [30, 10, 20])).get("calls", "rathole", 32)), "20.0 (10.0–30.0)")

    def test_a_ratio_is_taken_within_each_round_before_its_median_is(self):
        both = samples("llamapool", [10, 40, 90]) + samples("rathole", [100, 200, 100])
        self.assertEqual(Figures(both).ratio("calls", "llamapool", "rathole", 32).value, 0.2)

    def test_a_round_that_only_one_of_two_paths_has_makes_no_ratio(self):
        both = samples("llamapool", [10, 40]) + samples("rathole", [20])
        self.assertEqual(Figures(both).ratio("calls", "llamapool", "rathole", 32).rounds, 1)

    def test_what_was_not_measured_is_in_no_table(self):
        table = all_tables(Figures(samples("llamapool", [10])))
        self.assertIn("| llamapool | 10.0 |", table)
        self.assertNotIn("rathole", table)

    def test_the_summary_says_by_which_factor_llamapool_is_better(self):
        both = samples("llamapool", [20]) + samples("frp", [10])
        late = samples("llamapool", [8], "latency p50") + samples("frp", [2], "latency p50")
        row = summary(Figures(both + late), {"frp": "0.70.1"}).splitlines()[-1]
        self.assertEqual(row, "| frp 0.70.1 (raw TCP) | – | 2.00× | 0.25× | – | – |")

    def test_numbers_have_three_digits_that_count(self):
        self.assertEqual([number(value) for value in (12345, 104.4, 12.34, 0.123, 0)],
                         ["12\u202f300", "104", "12.3", "0.12", "0.00"])

    def test_percentiles_are_values_of_the_list(self):
        self.assertEqual([percentile([1, 2, 3, 4], percent) for percent in (0, 50, 99, 100)], [1, 3, 4, 4])

    def test_an_event_in_pieces_came_when_its_last_piece_did_and_comments_are_none(self):
        stream = Stream.__new__(Stream)
        stream.pieces = [(5, b"4\r\n: \n\n\r\nc\r\ndata: 1"), (7, b"2\n\n\r\nc\r\ndata: 34\n\n\r\n")]
        self.assertEqual(stream.events(), [(7, 12), (7, 34)])


class Files(unittest.TestCase):
    def test_every_file_opens_with_its_documentation(self):
        bench = Path(__file__).resolve().parents[1]
        files = [bench / "run", bench / "publish", bench / "instructions", *bench.glob("*/*.py")]
        self.assertGreater(len(files), 30)
        for file in files:
            head = file.read_text().removeprefix("#!/usr/bin/env python3\n")
            self.assertTrue(head.startswith('"""'), file)
