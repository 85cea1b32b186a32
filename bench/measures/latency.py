"""The latency of a call at a fixed rate, far below the capacity of every tunnel.

A call that could not start in time counts from its scheduled start, so that a path that stalls cannot hide it.

Samples: `latency p50`, `latency p99`, `latency p99.9` (ms).
"""

import json

from rig.load import LoadFailed, at_a_rate

BODIES = 20_000


def run(rig, lineup):
    if not rig.parts.has("oha"):
        return
    plan = lineup.plan
    load = (plan.fixed_connections, plan.fixed_rate, plan.fixed_seconds)
    bodies = rig.file("bodies.jsonl", "\n".join(_body(number) for number in range(BODIES)))
    # A gateway may not sustain the rate; then its latency would only reflect the duration of the load.
    for turn, route in lineup.turns("streams"):
        try:
            calls = at_a_rate(rig.parts.programs["oha"], route, load, bodies)
        except LoadFailed as why:
            rig.note(f"latency, {route.name}: {why}")
            continue
        if calls.failed:
            rig.note(f"latency, {route.name}: {calls.failed} calls failed in a round")
        for name, value in (("p50", calls.p50), ("p99", calls.p99), ("p99.9", calls.p999)):
            rig.sample(f"latency {name}", route.name, plan.fixed_rate, turn, (value, "ms"))


def _body(number):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo", "arguments": {}}})
