"""Two callers, one of which floods: how long the other one's calls take, alone and beside the flood.

The runtime has a few slots, and a call holds one for some time. The modest caller has one call at a time, the flood far more than
there are slots. Both have keys of their own where a path has keys, or are two users where it has users; else they are two connections.

Samples: `llm modest alone`, `llm modest flooded` (ms; p50), `llm flood` (calls a second that the flood had meanwhile).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from measures.llm_cancel import wait_for
from rig.chat_client import Runtime
from rig.load import LoadFailed, at_full_speed

FLOOD_CONNECTIONS = 64
# How long a call holds its slot.
WORDS = "1024 first_ms=20"


def run(rig, lineup, runtime_port):
    for turn, route in lineup.turns("streams", lineup.plan.llm_few_rounds):
        try:
            take(rig, lineup.plan, (turn, route, Runtime(runtime_port)))
        except LoadFailed as why:
            rig.note(f"llm keys, {route.name}: {why}")


def take(rig, plan, what):
    turn, route, runtime = what
    seconds = plan.llm_flood_seconds
    modest = replace(route, tool=WORDS, headers=route.second_caller or route.headers)
    other = replace(route, tool=WORDS)
    # By the caller that floods then: a path may hold a caller's last calls against it.
    alone = at_full_speed(other, 1, 1)

    before = runtime.arrived()
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(at_full_speed, other, FLOOD_CONNECTIONS, seconds + 1)
        wait_for(lambda: runtime.arrived() > before + FLOOD_CONNECTIONS)
        beside = at_full_speed(modest, 1, seconds)
        flooded = flood.result()
    if not flooded.answered or not beside.answered or not alone.answered:
        rig.note(f"llm keys, {route.name}: no call of the modest caller, or none of the flood, was answered")
        return
    if beside.failed or flooded.failed:
        rig.note(f"llm keys, {route.name}: {beside.failed} calls of the modest caller failed in a round, {flooded.failed} of the "
                 "flood")
    figures = {"llm modest alone": (alone.p50, "ms"), "llm modest flooded": (beside.p50, "ms"),
               "llm flood": (flooded.answered / flooded.seconds, "1/s")}
    for name, figure in figures.items():
        rig.sample(name, route.name, "", turn, figure)
