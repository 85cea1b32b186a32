"""The same calls with the two sides of each path on their own cores, like two machines.

On a machine with few cores the scheduler decides which processes share one, and a path whose two sides share one is as slow as
both together. Here it has no choice: the public side gets the first core, the private side the second. Load generator and
provider run on any core, as before.

The affinity is always restored. Samples: those of `calls`, by the name `apart`.
"""

import os
from contextlib import contextmanager

from measures.calls import take
from rig.further import further_rounds
from rig.processes import tree


def run(rig, lineup, measure="apart", connections=None):
    """Takes the samples of all connections of the plan, or of those that are given."""
    if len(os.sched_getaffinity(0)) < 2:
        rig.note(f"{measure}: this machine has one core")
        return
    for number in connections or lineup.plan.connections:
        def take_turn(turn, route, number=number):
            take_apart(rig, lineup, (turn, route, number), measure)

        for turn, route in lineup.turns():
            take_turn(turn, route)
        further_rounds(rig, lineup, (measure, number), take_turn)


def take_apart(rig, lineup, what, measure):
    """Runs one turn of a path that has two sides."""
    _, route, _ = what
    public, private = sorted(os.sched_getaffinity(0))[:2]
    if route.pids("public") and route.pids("private"):
        with kept_to(route, {"public": public, "private": private}):
            take(rig, lineup, what, measure)


@contextmanager
def kept_to(route, core_of):
    threads = {thread: core for role, core in core_of.items() for pid in route.pids(role) for thread in threads_of(pid)}
    everywhere = os.sched_getaffinity(0)
    try:
        for thread, core in threads.items():
            os.sched_setaffinity(thread, {core})
        yield
    finally:
        for thread in threads:
            os.sched_setaffinity(thread, everywhere)


def threads_of(pid):
    return [int(thread) for member, _ in tree(pid) for thread in os.listdir(f"/proc/{member}/task")]
