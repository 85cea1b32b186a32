"""Counts of instructions: what is subtracted, which is taken, and when a count fails. Run by `./test`.

No process is started here and nothing is counted.
"""

import io
import unittest
from collections import Counter
from contextlib import redirect_stdout
from types import SimpleNamespace
from unittest import mock

from counts.cases import SHORT, count_streams
from counts.count import Count, CountedRig, least_of
from counts.show import compare, show_peers
from rig.callgrind import CLEARING


def printed(function, *arguments):
    """Returns what the function returns, and what it prints."""
    with redirect_stdout(io.StringIO()) as out:
        result = function(*arguments)
    return result, out.getvalue()


class Counts(unittest.TestCase):
    def test_what_clears_memory_is_in_no_figure(self):
        count = Count(10, {"server": Counter({"hyper": 300, CLEARING: 9000})})
        self.assertEqual(count.figures(), {"server": 30})

    def test_of_two_counts_the_difference_has_the_further_calls(self):
        many, few = Count(50, {"server": Counter({"hyper": 900})}), Count(10, {"server": Counter({"hyper": 100})})
        self.assertEqual(many.less(few), Count(40, {"server": Counter({"hyper": 800})}))

    def test_the_least_is_taken_of_each_side(self):
        counts = [Count(1, {"server": Counter(a=5), "relay": Counter(a=9)}), Count(1, {"server": Counter(a=7), "relay": Counter(a=3)})]
        self.assertEqual(least_of(counts).figures(), {"server": 5, "relay": 3})

    def test_processes_are_counted_by_the_beginning_of_their_name(self):
        started = []
        rig = CountedRig({}, names=("nginx-",))
        with mock.patch("rig.rig.Process", lambda role, command, log, env: started.append(command[0])):
            for name in ("nginx-public", "http-echo"):
                rig.start("public", name, ["program"])
        rig.folder.rmdir()
        self.assertEqual(started, ["valgrind", "program"])


class Streams(unittest.TestCase):
    def count(self, together):
        """Counts streams, each of 5000 and 100 an event, or of 3000 where so many of its first events came together."""
        left, merged, asked = list(together), [0], set()

        def read(events, pause):
            asked.add((events, pause))
            merged[0] = left.pop(0) if left else 0
            return [max(at, merged[0]) for at in range(events)]

        def count(_case, _route, events, load):
            load()
            return Count(events, {"server": Counter(a=100 * events + (3000 if merged[0] else 5000))})

        result = count_streams(SimpleNamespace(count=count), ("event", None), SHORT, read)
        return result.figures()["server"], asked

    def test_beginning_and_end_of_a_stream_are_in_no_figure(self):
        figure, _ = self.count([])
        self.assertEqual(figure, 100)

    def test_streams_with_few_and_with_many_events_take_as_long(self):
        _, asked = self.count([])
        few, many = SHORT.stream_events
        self.assertLessEqual({(many, 50), (few, many * 50 // few)}, asked)

    def test_a_stream_whose_events_came_together_does_not_count(self):
        # The first is the one that warms up.
        figure, _ = self.count([0, 0, 5, 0, 5])
        self.assertEqual(figure, 100)

    def test_without_any_other_a_stream_whose_events_came_together_counts(self):
        figure, _ = self.count([5] * 100)
        self.assertEqual(figure, 100)


class Shown(unittest.TestCase):
    recorded = {"mcp": {"server": 100}}

    def test_a_count_fails_above_the_tolerance_alone(self):
        statuses = {figure: printed(compare, {"mcp": {"server": figure}}, self.recorded)[0] for figure in (50, 104, 106)}
        self.assertEqual(statuses, {50: 0, 104: 0, 106: 1})

    def test_a_case_that_is_not_recorded_fails(self):
        status, text = printed(compare, {"event": {"server": 1}}, self.recorded)
        self.assertEqual(status, 1)
        self.assertIn("not recorded yet", text)

    def test_peers_are_shown_beside_llamapool(self):
        _, text = printed(show_peers, {"mcp": {"server": 100, "relay": 50}}, {"rathole": {"public": 60, "private": 40}})
        self.assertIn("mcp, llamapool: server 100 + relay 50 = 150\n", text)
        self.assertIn("mcp, rathole: public 60 + private 40 = 100, llamapool ÷ it 1.50", text)


if __name__ == "__main__":
    unittest.main()
