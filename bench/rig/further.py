"""Further rounds of a measure, until the ratios that matter are known to within five in a hundred, or the time for them is over.

What is known well is no ratio of a round, but the median of those of all rounds: more rounds narrow its interval, not their spread. Both
are reported, with the number of rounds.
"""

import time
from dataclasses import asdict

from report.figures import Figures

# The interval of a ratio's median, of its value, each way.
WITHIN = 0.05
# The paths with which llamapool is compared.
COMPARED = ("nginx", "rathole")


def further_rounds(rig, lineup, what, take, ours="llamapool", compared=COMPARED):
    """Repeats the turns of `ours` and of each compared path whose ratio is not known well. `what` is the measure and its case.

    Every case brings its seconds, and leaves to the next one what it did not need.
    """
    plan, routes = lineup.plan, {route.name: route for route in lineup.routes}
    began = time.monotonic()
    rig.further_seconds += plan.further_seconds
    turn = plan.rounds
    while ours in routes and turn < plan.most_rounds:
        group = [ours, *(path for path in compared if path in routes and not is_known(rig, what, ours, path))]
        if len(group) == 1 or time.monotonic() - began + len(group) * plan.call_seconds > rig.further_seconds:
            break
        first = turn % len(group)
        for path in group[first:] + group[:first]:
            take(turn, routes[path])
        turn += 1
    rig.further_seconds -= time.monotonic() - began


def is_known(rig, what, ours, path):
    """Returns whether the ratio of the two paths is known well enough. One without any figure will not be."""
    measure, case = what
    samples = [asdict(sample) for sample in rig.samples if sample.measure == measure and sample.case == str(case)]
    ratio = Figures(samples).ratio(measure, ours, path, case)
    return ratio is None or ratio.error is not None and ratio.error <= WITHIN
