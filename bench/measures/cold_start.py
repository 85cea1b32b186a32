"""The time from starting all processes of a path to the first answered call.

The executables are in the page cache by then, as they have all run before.

Samples: `cold start` (ms) of paths to a provider that speaks HTTP, `cold start stdio` of paths to one that is a program.
"""

import time

from rig.mcp_client import NotAnswered


def run(rig, plan, starts, measure="cold start"):
    for turn in range(plan.cold_starts):
        for start in starts:
            if not all(rig.parts.has(part) for part in start.needs):
                continue
            began = time.monotonic()
            route = start()
            try:
                route.wait()
                if route.processes:
                    rig.sample(measure, route.name, "", turn, (1e3 * (time.monotonic() - began), "ms"))
            except NotAnswered as why:
                rig.note(f"{measure}, {route.name}: {why}")
            rig.end(route.processes)
