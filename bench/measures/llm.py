"""Calls to an LLM runtime that costs nothing: how many a second, the processor time of one on each side, how late a token comes, and
how soon the runtime notices that a caller has left.

An answer has 1 KB, as has the request. Samples: those of `calls` by the name `llm`; `llm first`, `llm token` (ms; the median of one
round), `llm left` (ms from the caller's close to the runtime's; the median of one round).
"""

import time
from statistics import median

from measures.calls import take
from rig.chat_client import ChatStream, NotAnswered, left_at

# How long the runtime may take to notice, before it counts as never.
NOTICE_SECONDS = 5


def run(rig, lineup, runtime_port):
    for connections in lineup.plan.llm_connections:
        for turn, route in lineup.turns():
            take(rig, lineup, (turn, route, connections), "llm")
    for turn, route in lineup.turns("streams"):
        read_tokens(rig, lineup.plan, (turn, route))
    for turn, route in lineup.turns("streams"):
        leave(rig, lineup.plan, (turn, route, runtime_port))


def read_tokens(rig, plan, what):
    turn, route = what
    streams, events, pause = plan.lone_streams
    firsts, each = [], []
    for _ in range(streams):
        try:
            with ChatStream(route.url, route.headers, events, pause) as stream:
                came = stream.read(events)
        except (OSError, NotAnswered) as why:
            rig.note(f"llm, {route.name}: {why}")
            continue
        firsts.append((came[0][0] - stream.asked) / 1e6)
        each += [(arrived - made) / 1e6 for arrived, made in came[1:]]
    if firsts:
        rig.sample("llm first", route.name, "", turn, (median(firsts), "ms"))
        rig.sample("llm token", route.name, "", turn, (median(each), "ms"))


def leave(rig, plan, what):
    turn, route, runtime_port = what
    took = []
    for _ in range(plan.lone_streams[0]):
        try:
            with ChatStream(route.url, route.headers, 1_000_000, 5) as stream:
                stream.read(2)
                left = time.time_ns()
        except (OSError, NotAnswered) as why:
            rig.note(f"llm, {route.name}: {why}")
            continue
        deadline = time.monotonic() + NOTICE_SECONDS
        while (noticed := left_at(runtime_port)) < left and time.monotonic() < deadline:
            time.sleep(0.001)
        if noticed < left:
            rig.note(f"llm, {route.name}: the runtime did not notice within {NOTICE_SECONDS} s that its caller left")
            continue
        took.append((noticed - left) / 1e6)
    if took:
        rig.sample("llm left", route.name, "", turn, (median(took), "ms"))
