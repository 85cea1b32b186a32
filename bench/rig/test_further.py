"""Further rounds: how many there are, of which paths, and when they end. Run by `./test`.

No process is started here and nothing is measured.
"""

import unittest
from types import SimpleNamespace
from unittest import mock

from rig import further
from rig.further import further_rounds
from rig.rig import Sample


class Rounds(unittest.TestCase):
    def setUp(self):
        self.now, self.taken, self.figures = 0.0, [], {}
        self.rig = SimpleNamespace(samples=[], further_seconds=0.0)
        plan = SimpleNamespace(rounds=5, further_seconds=10, most_rounds=40, call_seconds=1)
        routes = [SimpleNamespace(name=name) for name in ("nginx", "rathole", "llamapool")]
        self.lineup = SimpleNamespace(plan=plan, routes=routes)
        clock = mock.patch.object(further.time, "monotonic", lambda: self.now)
        clock.start()
        self.addCleanup(clock.stop)

    def take(self, turn, route):
        self.now += 1
        self.taken.append((turn, route.name))
        self.sample(turn, route.name)

    def sample(self, turn, path):
        values = self.figures[path]
        self.rig.samples.append(Sample("calls", path, "32", turn, values[turn % len(values)], "1/s"))

    def run_with(self, **figures):
        self.figures = figures
        for turn in range(5):
            for path in figures:
                self.sample(turn, path)
        further_rounds(self.rig, self.lineup, ("calls", 32), self.take)

    def test_ratios_that_are_known_have_no_further_round(self):
        self.run_with(llamapool=[50], nginx=[100], rathole=[99, 100, 101])
        self.assertEqual((self.taken, self.rig.further_seconds), ([], 10))

    def test_only_a_ratio_that_is_not_known_is_measured_further(self):
        self.run_with(llamapool=[50], nginx=[100], rathole=[80, 120])
        self.assertEqual({path for _, path in self.taken}, {"llamapool", "rathole"})
        self.assertEqual([turn for turn, _ in self.taken], [5, 5, 6, 6, 7, 7, 8, 8, 9, 9])
        self.assertEqual(self.rig.further_seconds, 0)

    def test_what_a_case_does_not_need_is_left_to_the_next(self):
        self.rig.further_seconds = 20
        self.run_with(llamapool=[50], nginx=[100], rathole=[60, 140])
        self.assertEqual(len(self.taken), 30)

    def test_there_is_a_bound_on_rounds(self):
        self.lineup.plan.most_rounds = 6
        self.run_with(llamapool=[50], nginx=[100], rathole=[60, 140])
        self.assertEqual(len(self.taken), 2)

    def test_the_first_path_changes_from_round_to_round(self):
        self.run_with(llamapool=[50], nginx=[70, 130], rathole=[60, 140])
        self.assertEqual([path for _, path in self.taken[::3]], ["rathole", "llamapool", "nginx"])


if __name__ == "__main__":
    unittest.main()
