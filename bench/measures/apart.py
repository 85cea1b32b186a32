"""The same calls with the two sides of each path on their own cores, like two machines.

On a machine with few cores the scheduler decides which processes share one, and a path whose two sides share one is as slow as
both together. Here it has no choice: the public side gets the first core, the private side the second. Load generator and
provider run on any core, as before.

The affinity is always restored. Samples: those of `calls`, by the name `apart`.
"""

import os
from contextlib import contextmanager

from measures.calls import take
from rig.processes import tree

CONNECTIONS = (32, 128)


def run(rig, lineup):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        rig.note("apart: this machine has one core")
        return
    for connections in CONNECTIONS:
        for turn, route in lineup.turns():
            if route.pids("public") and route.pids("private"):
                with kept_to(route, {"public": cores[0], "private": cores[1]}):
                    take(rig, lineup, (turn, route, connections), "apart")


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
