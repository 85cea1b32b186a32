"""Median, spread and ratio of samples.

A ratio is taken within each round, between neighbours in time, and the median of these is taken last.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import median, quantiles


# Of fewer, quartiles are little more than guesses.
FEWEST_ROUNDS = 5


@dataclass
class Figure:
    """The median of the rounds, the smallest and the largest value, and the number of rounds.

    `spread` is half the distance of the quartiles, `error` the interval of the median each way (95 %: McGill, Tukey and Larsen,
    Variations of Box Plots, 1978): both divided by the median, and None with fewer rounds than quartiles need.
    """

    value: float
    low: float
    high: float
    rounds: int
    unit: str
    spread: float | None = None
    error: float | None = None

    @classmethod
    def of(cls, values, unit):
        """Returns the figure of the values of all rounds, None without any."""
        if not values:
            return None
        middle = median(values)
        figure = cls(middle, min(values), max(values), len(values), unit)
        if len(values) >= FEWEST_ROUNDS and middle:
            lower, _, upper = quantiles(values, n=4, method="inclusive")
            figure.spread = (upper - lower) / 2 / abs(middle)
            figure.error = 1.57 * (upper - lower) / sqrt(len(values)) / abs(middle)
        return figure


class Figures:
    def __init__(self, samples):
        self._of = {}
        for sample in samples:
            key = (sample["measure"], sample["path"], sample["case"])
            self._of.setdefault(key, {})[sample["round"]] = (sample["value"], sample["unit"])

    def get(self, measure, path, case=""):
        rounds = self._of.get((measure, path, str(case)))
        if not rounds:
            return None
        values = [value for value, _ in rounds.values()]
        unit = next(unit for _, unit in rounds.values())
        return Figure.of(values, unit)

    def ratio(self, measure, path, other, case=""):
        """Returns `path` divided by `other`; None for a path and itself."""
        return None if path == other else self._pairs(measure, (path, other), case, lambda one, two: one / two if two else None, "×")

    def both_sides(self, measure, path, case=""):
        """Returns the sum of a measure's two sides within each round; that of one side where a path has one."""
        return self._figure(self._both(measure, path, case), "µs")

    def both_sides_ratio(self, measure, path, other, case=""):
        """Returns both sides of `path` divided by those of `other`; None for a path and itself."""
        if path == other:
            return None
        one, two = (self._both(measure, each, case) for each in (path, other))
        return self._figure({turn: one[turn] / two[turn] for turn in one if two.get(turn)}, "×")

    def added(self, measure, path, case=""):
        """Returns the difference of `path` to the direct path."""
        figure = self.get(measure, path, case)
        return figure and self._pairs(measure, (path, "direct"), case, lambda one, two: one - two, figure.unit)

    def cases(self, measure):
        """Returns the cases of a measure; numbers in their order."""
        found = {case for name, _, case in self._of if name == measure}
        return sorted(found, key=lambda case: (not case.isdigit(), int(case) if case.isdigit() else 0, case))

    def paths(self, measure):
        return {path for name, path, _ in self._of if name == measure}

    def _both(self, measure, path, case):
        """Returns the sums by round, of rounds that have the public side."""
        public, private = (self._of.get((f"{measure} {side}", path, str(case)), {}) for side in ("public", "private"))
        return {turn: value + private.get(turn, (0, ""))[0] for turn, (value, _) in public.items() if not private or turn in private}

    @staticmethod
    def _figure(by_round, unit):
        return Figure.of(list(by_round.values()), unit)

    def _pairs(self, measure, paths, case, combine, unit):
        one, two = (self._of.get((measure, path, str(case)), {}) for path in paths)
        values = [combine(one[turn][0], two[turn][0]) for turn in one if turn in two]
        return Figure.of([value for value in values if value is not None], unit)


def percentile(ordered, percent):
    """Returns the percentile of an ordered list."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
