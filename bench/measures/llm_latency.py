"""The latency of calls to an LLM at a fixed rate, below the capacity of every path but the slowest, which is left out.

A call that could not start in time counts from its scheduled start.

Samples: `llm latency p50`, `llm latency p99` (ms), by number of connections.
"""

from rig.chat_client import chat
from rig.load import LoadFailed, at_a_rate

BODIES = 1000
# Bytes of a prompt with which a request has 1 KiB.
PROMPT = "word " * 185


def run(rig, lineup, _runtime_port):
    if not rig.parts.has("oha"):
        rig.note("llm latency: oha is not installed")
        return
    plan = lineup.plan
    connections, rate, seconds = plan.llm_fixed
    bodies = rig.file("chats.jsonl", "\n".join([chat(PROMPT)] * BODIES))
    for turn, route in lineup.turns("rate"):
        try:
            calls = at_a_rate(rig.parts.programs["oha"], route, (connections, rate, seconds), bodies)
        except LoadFailed as why:
            rig.note(f"llm latency, {route.name}: {why}")
            continue
        if calls.failed:
            rig.note(f"llm latency, {route.name}: {calls.failed} calls failed in a round")
        for name, value in (("p50", calls.p50), ("p99", calls.p99)):
            rig.sample(f"llm latency {name}", route.name, connections, turn, (value, "ms"))
