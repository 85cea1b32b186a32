"""Tests of the report: the figures are computed from samples as documented. Run by `./test`.

No process is started here and nothing is measured.
"""

import re
import tempfile
import unittest
from pathlib import Path

from report.better import MCP, better, better_line
from report.figures import Figures, percentile
from report.llm_tables import bars, line, llm_tables
from report.numbers import number, text
from report.pictures import all_pictures, llm_pictures
from report.tables import all_tables, precision, summary
from report.write import is_about_llms, is_about_tls, llm_measured, measured, tls_measured, within_a_line
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


def of_case(path, measure, case, values, unit="µs"):
    return [{"measure": measure, "path": path, "case": case, "round": turn, "value": value, "unit": unit}
            for turn, value in enumerate(values)]


def cpu_of(path, public, private=()):
    return of_case(path, "llm cpu public", "16", public) + of_case(path, "llm cpu private", "16", private)


class OfRatios(unittest.TestCase):
    def ratios(self, ours, theirs, measure="calls"):
        return Figures(samples("llamapool", ours, measure) + samples("rathole", theirs, measure))

    def test_more_rounds_narrow_the_interval_of_a_median_and_not_the_spread(self):
        few, many = ([90, 95, 100, 105, 110] * times for times in (1, 4))
        one, two = (Figures(samples("rathole", values)).get("calls", "rathole", 32) for values in (few, many))
        self.assertAlmostEqual(one.spread, 0.05)
        self.assertAlmostEqual(two.spread, 0.05)
        self.assertAlmostEqual(one.error, 1.57 * 0.1 / 5 ** 0.5)
        self.assertAlmostEqual(two.error, one.error / 2)

    def test_a_few_rounds_have_no_interval(self):
        self.assertIsNone(Figures(samples("rathole", [1, 2, 3, 4])).get("calls", "rathole", 32).error)

    def test_how_well_a_ratio_is_known_is_said_where_it_is_not_enough(self):
        known = precision(self.ratios([50] * 6, [100, 100, 101, 99, 100, 100]))
        self.assertIn("| calls, 32 connections | rathole (raw TCP) | 0.50× | ±0.0 % | ±0.0 % | 6 | yes |", known)
        unknown = precision(self.ratios([50] * 6, [100, 60, 140, 80, 120, 100]))
        self.assertRegex(unknown, r"0\.50× \| ±\d+ % \| ±\d+ % \| 6 \| \*\*no\*\* \|")
        self.assertIn("| – | – | 2 | **no** |", precision(self.ratios([50] * 2, [100] * 2)))

    def test_long_labels_leave_room_for_bars(self):
        picture = all_pictures(self.ratios([50] * 6, [100] * 6, "apart to fastmcp"))["ratios"]
        widths = [float(width) for width in re.findall(r'<rect [^>]*width="([^"]+)"', picture)]
        self.assertGreaterEqual(max(widths), 200)

    def test_the_picture_of_ratios_has_the_interval_of_each(self):
        picture = all_pictures(self.ratios([50] * 6, [100, 60, 140, 80, 120, 100]))["ratios"]
        self.assertIn("calls: rathole (raw TCP): 0.50×", picture)
        self.assertIn('class="spread"', picture)

    def test_idle_cores_and_other_providers_have_their_tables(self):
        idle = all_tables(Figures(samples("llamapool", [12], "calls idle") + samples("llamapool", [9], "apart idle")))
        self.assertIn("| llamapool | 12.0 | 9.00 |", idle)
        other = all_tables(self.ratios([10], [20], "calls to nginx"))
        self.assertIn("### Calls a second to nginx with a static answer\n", other)
        self.assertIn("| rathole (raw TCP) | 20.0 | 0.50× |", other)

    def test_two_threads_are_compared_with_one(self):
        both = samples("llamapool-1-thread", [20], "threads cpu public") + samples("llamapool-2-threads", [25], "threads cpu public")
        calls = samples("llamapool-1-thread", [20], "threads")
        self.assertIn("| llamapool, server with two threads | – | 25.0 | 1.25× |", all_tables(Figures(both + calls)))

    def test_many_streams_are_compared_at_p99(self):
        late = samples("llamapool", [6], "many streams p99") + samples("nginx", [4], "many streams p99")
        late += samples("llamapool", [6], "many streams p50")
        self.assertRegex(all_tables(Figures(late)), r"\| two nginx in a row \|.*\| 1\.50× \|")


class Better(unittest.TestCase):
    def test_a_path_is_better_with_more_of_one_thing_or_less_of_another(self):
        figures = Figures(samples("llamapool", [10]) + samples("rathole", [15])
                          + samples("llamapool", [3], "latency p50") + samples("rathole", [2], "latency p50"))
        self.assertIn("- **rathole (raw TCP)**: calls a second 1.50×; median latency 1.50×", better(figures, MCP, "title"))

    def test_nothing_is_written_where_llamapool_is_as_good(self):
        figures = Figures(samples("llamapool", [10]) + samples("frp", [10.01]) + samples("direct", [90]))
        self.assertEqual((better(figures, MCP, "title"), better_line(figures)), ("", ""))

    def test_cases_in_which_a_path_is_better_are_named(self):
        figures = Figures(of_case("llamapool", "calls", "1", [10]) + of_case("frp", "calls", "1", [12])
                          + of_case("llamapool", "calls", "32", [10]) + of_case("frp", "calls", "32", [8]))
        self.assertIn("- **frp (raw TCP)**: calls a second 1.20× (in 1 of 2 cases: 1)", better(figures, MCP, "title"))

    def test_both_sides_are_compared_as_a_sum(self):
        ours = samples("llamapool", [10], "calls cpu public") + samples("llamapool", [10], "calls cpu private")
        theirs = samples("nginx", [12], "calls cpu public") + samples("nginx", [4], "calls cpu private")
        self.assertIn("processor time of a call 1.25×", better(Figures(ours + theirs), MCP, "title"))

    def test_a_path_that_takes_nothing_is_better(self):
        figures = Figures(samples("llamapool", [2], "session processes") + samples("python-mcp-proxy", [0], "session processes"))
        self.assertIn("processes of a session with a program none", better(figures, MCP, "title"))

    def test_the_sentence_of_the_readme_names_what_each_is_better_at(self):
        figures = Figures(samples("llamapool", [10]) + samples("rathole", [15]) + samples("llamapool", [10], "apart")
                          + samples("rathole", [15], "apart") + samples("llamapool", [3], "size") + samples("bore", [2], "size"))
        self.assertEqual(better_line(figures), "Where another is better, in any of its measures: rathole (raw TCP): calls a second; "
                                               "bore (raw TCP): size.")


class OfCallsToLlms(unittest.TestCase):
    def test_both_sides_are_summed_within_a_round_before_the_median(self):
        figure = Figures(cpu_of("llamapool", [10, 20, 90], [50, 40, 1])).both_sides("llm cpu", "llamapool", 16)
        self.assertEqual((figure.value, figure.low, figure.high), (60, 60, 91))

    def test_a_round_without_one_of_two_sides_has_no_sum(self):
        self.assertEqual(Figures(cpu_of("llamapool", [10, 20], [50])).both_sides("llm cpu", "llamapool", 16).rounds, 1)

    def test_a_router_has_one_side(self):
        figures = Figures(cpu_of("smg", [30, 50]) + cpu_of("llamapool", [10, 10], [10, 15]))
        self.assertEqual(figures.both_sides("llm cpu", "smg", 16).value, 40)
        self.assertEqual(figures.both_sides_ratio("llm cpu", "smg", "llamapool", 16).value, 1.75)

    def test_a_bar_is_met_by_the_median_and_has_its_spread(self):
        shown = bars(Figures(cpu_of("llamapool", [20, 30, 50], [25, 25, 25])))
        self.assertIn("| 60 | 55.0 (45.0–75.0) | yes |", shown)
        self.assertNotIn("MCP", shown)

    def test_a_bar_that_is_not_met_is_marked(self):
        failed = of_case("llamapool", "failover failed", "worker", [0, 2, 3], "calls")
        self.assertIn("| 0 | 2.00 (0.00–3.00) | **no** |", bars(Figures(failed)))

    def test_latency_is_held_against_the_runtime_itself(self):
        late = of_case("llamapool", "llm p50", "1", [0.5, 0.2], "ms") + of_case("direct", "llm p50", "1", [0.1, 0.1], "ms")
        self.assertIn("| added to p50, 1 connection, ms | 0.3 | 0.25 (0.10–0.40) | yes |", bars(Figures(late)))

    def test_the_sentence_of_the_readme_names_each_path_that_was_measured(self):
        both = cpu_of("llamapool", [40], [30]) + cpu_of("llamapool-mcp", [25], [25]) + cpu_of("litellm", [12_300])
        sentence = line(Figures(both))
        self.assertIn("A call takes 70.0 µs of processor time, server and worker together, 1.40× as much as an MCP call", sentence)
        self.assertIn("routers are one hop: LiteLLM's proxy 12\u202f300.", sentence)
        self.assertNotIn("nginx", sentence)

    def test_nothing_is_written_of_what_was_not_measured(self):
        empty = Figures(samples("llamapool", [10]))
        self.assertEqual((llm_tables(empty), line(empty), llm_pictures(empty)), ("", "", {}))

    def test_each_ending_of_a_path_has_its_row(self):
        ended = of_case("nfrx", "failover answered", "runtime", [16], "calls") + of_case("nfrx", "failover answered", "worker", [9], "calls")
        table = llm_tables(Figures(ended))
        self.assertIn("| nfrx, the original in Go, a runtime ends | – | 16.0 |", table)
        self.assertIn("| nfrx, the original in Go, its worker ends | – | 9.00 |", table)

    def test_a_path_that_takes_far_more_is_no_bar_of_the_picture(self):
        picture = llm_pictures(Figures(cpu_of("llamapool", [40], [30]) + cpu_of("smg", [100]) + cpu_of("litellm", [12_300])))["llm"]
        self.assertIn("SMG: 100 µs", picture)
        self.assertIn("llamapool: 40.0 + 30.0 µs", picture)
        self.assertNotIn("LiteLLM", picture)

    def test_a_result_of_llms_alone_has_no_other_part(self):
        findings = {"samples": cpu_of("llamapool", [40], [30]), "date": "2026-01-02", "quick": False, "notes": [
                        "llm keys, smg: slow", "bulk, frp: slow"],
                    "machine": {"cores": 2, "processor": "p", "niceness": 0}, "llamapool": {"commit": "c", "changed": False, "given": True},
                    "not_installed": {"smg 1.13.0": "no wheel", "frp": "no folder"}}
        self.assertEqual(measured(findings), "")
        self.assertIn("commit c, with an executable that the run did not build, on 2 cores", llm_measured(findings))
        self.assertIn("- smg 1.13.0: no wheel", llm_measured(findings))
        self.assertIn("- llm keys, smg: slow", llm_measured(findings))
        self.assertNotIn("frp", llm_measured(findings))

    def test_a_result_of_tls_alone_has_no_other_part(self):
        calls = of_case("llamapool-tls", "tls calls", "1", [3, 4], "calls/s") + of_case("nginx-tls", "tls calls", "1", [2, 2], "calls/s")
        each = of_case("llamapool-tls", "tls connections", "32", [3], "calls/s") + of_case("nginx-tls", "tls connections", "32", [2], "calls/s")
        findings = {"samples": calls + each, "date": "2026-01-02", "quick": False, "notes": ["tls calls, nginx-tls: slow", "bulk: slow"],
                    "machine": {"cores": 2, "processor": "p", "niceness": 0},
                    "llamapool": {"commit": "c", "changed": False}, "not_installed": {}}
        self.assertEqual((measured(findings), llm_measured(findings)), ("", ""))
        text = tls_measured(findings)
        self.assertIn("| 2.00 | 1.75× (1.50–2.00) | 2.00 | 1.50× |", text)
        self.assertIn("- tls calls, nginx-tls: slow", text)
        self.assertNotIn("bulk", text)
        self.assertFalse(is_about_tls("nginx was left out: it is not installed"))

    def test_notes_belong_to_the_part_whose_paths_they_name(self):
        notes = {"ollamamq was left out: it is not installed": True, "llm failover, nfrx: slow": True, "nfrx for LLMs: none": True,
                 "calls, nfrx, 32 connections: slow": False, "nginx was left out: it is not installed": False}
        self.assertEqual({note: is_about_llms(note) for note in notes}, notes)

    def test_text_between_markers_inside_a_line_is_replaced(self):
        with tempfile.TemporaryDirectory() as folder:
            document = Path(folder) / "page.md"
            document.write_text("before.<!-- m -->old<!-- /m -->\nafter\n")
            within_a_line(document, "m", " new")
            self.assertEqual(document.read_text(), "before.<!-- m --> new<!-- /m -->\nafter\n")
            with self.assertRaises(SystemExit):
                within_a_line(document, "other", "text")


class Files(unittest.TestCase):
    def test_every_file_opens_with_its_documentation(self):
        bench = Path(__file__).resolve().parents[1]
        files = [bench / "run", bench / "publish", bench / "instructions", *bench.glob("*/*.py")]
        self.assertGreater(len(files), 30)
        for file in files:
            head = file.read_text().removeprefix("#!/usr/bin/env python3\n")
            self.assertTrue(head.startswith('"""'), file)
