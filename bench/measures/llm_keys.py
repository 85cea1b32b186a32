"""Two callers, one of which floods: how long the other one's calls take, alone and beside the flood.

The runtime has a few slots, and a call holds one for some time. The modest caller has one call at a time, the flood far more than
there are slots. Both have keys of their own where a path has keys, or are two users where it has users; else they are two connections.

Samples: `llm modest alone`, `llm modest flooded` (ms; p50), `llm flood` (calls a second that the flood had meanwhile).
"""

import threading
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
    alone = at_full_speed(modest, 1, 1)

    flooded = []
    flood = threading.Thread(target=lambda: flooded.append(at_full_speed(replace(route, tool=WORDS), FLOOD_CONNECTIONS,
                                                                         seconds + 1)))
    before = runtime.arrived()
    flood.start()
    wait_for(lambda: runtime.arrived() > before + FLOOD_CONNECTIONS)
    beside = at_full_speed(modest, 1, seconds)
    flood.join()
    if not flooded or not beside.answered or not alone.answered:
        rig.note(f"llm keys, {route.name}: no call of the modest caller, or none of the flood, was answered")
        return
    if beside.failed or flooded[0].failed:
        rig.note(f"llm keys, {route.name}: {beside.failed} calls of the modest caller failed in a round, {flooded[0].failed} of "
                 "the flood")
    figures = {"llm modest alone": (alone.p50, "ms"), "llm modest flooded": (beside.p50, "ms"),
               "llm flood": (flooded[0].answered / flooded[0].seconds, "1/s")}
    for name, figure in figures.items():
        rig.sample(name, route.name, "", turn, figure)
