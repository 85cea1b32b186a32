"""The number of `tools/call` a second, by number of connections, and the processor time of one on each side.

The load generator, the provider and every process of the path share the same cores, as does anything else on the machine: only
figures of the same round are compared.

Samples: `calls` (a second), `call p50`, `call p99` (ms, while the path is saturated), `cpu public`, `cpu private`,
`cpu provider`, `cpu load generator` (µs for each call), `others` (% of the machine that processes outside the run used), `idle` (% of
all cores that nobody used meanwhile, by /proc/stat).
"""

import os

from rig.lineup import spent
from rig.further import further_rounds
from rig.load import LoadFailed, at_full_speed
from rig.route import SLOW


def run(rig, lineup):
    for connections in lineup.plan.connections:
        def take_turn(turn, route, connections=connections):
            take(rig, lineup, (turn, route, connections), "calls")

        for turn, route in lineup.turns():
            if not route.in_session or connections in lineup.plan.gateway_connections:
                take_turn(turn, route)
        further_rounds(rig, lineup, ("calls", connections), take_turn)


def take(rig, lineup, what, measure):
    """Runs one turn; `what` is round, route and number of connections."""
    turn, route, connections = what
    seconds = lineup.plan.gateway_seconds if route.in_session or route.carries == SLOW else lineup.plan.call_seconds
    before = lineup.cpu(route)
    try:
        calls = at_full_speed(route, connections, seconds)
    except LoadFailed as why:
        rig.note(f"{measure}, {route.name}, {connections} connections: {why}")
        return
    roles, (used, idle) = spent(before, lineup.cpu(route))
    if calls.failed:
        rig.note(f"{measure}, {route.name}, {connections} connections: {calls.failed} calls failed in a round")
    if not calls.answered:
        rig.note(f"{measure}, {route.name}, {connections} connections: no call was answered within {seconds} s in a round")
        return
    figures = {"": (calls.answered / calls.seconds, "1/s"), " p50": (calls.p50, "ms"), " p99": (calls.p99, "ms")}
    for role, seconds in {**roles, "load generator": calls.cpu_seconds}.items():
        figures[f" cpu {role}"] = (1e6 * seconds / calls.answered, "µs")
    others = used - sum(roles.values()) - calls.cpu_seconds
    figures[" others"] = (100 * max(0.0, others) / calls.seconds / os.cpu_count(), "%")
    if used + idle > 0:
        figures[" idle"] = (100 * idle / (used + idle), "%")
    for name, figure in figures.items():
        rig.sample(measure + name, route.name, connections, turn, figure)
