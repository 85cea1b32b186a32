"""The time from the close of a caller's connection to the moment at which the runtime sees its call end.

Three cases: `writing`, a stream that has begun; `reading`, a whole answer that has not; `queued`, a call that llamapool holds in its
queue, where the end is the first list of models that no longer counts it. A path that never ends calls costs no more than a few
tries in a round.

Samples: `llm left p50`, `llm left p99` (ms), `llm left never` (calls that had not ended after some seconds), by case.
"""

import time
from contextlib import ExitStack

from report.figures import percentile
from rig.chat_client import Asked, ChatStream, Runtime, chat, waiting
from rig.mcp_client import NotAnswered

# How long the end of a call may take, before it counts as never.
NOTICE_SECONDS = 2
# How long a runtime reads or writes: longer than that, and not for long, as a path may be held up by a call that goes on.
BUSY_SECONDS = 3
PAUSE_MS = 10
# After so many that never ended, a round has no more of them.
ENOUGH_NEVER = 2
LOOK_SECONDS = 0.0005


def run(rig, lineup, runtime_port):
    runtime = Runtime(runtime_port)
    for case, leave in (("writing", leave_writing), ("reading", leave_reading)):
        for turn, route in lineup.turns("streams", lineup.plan.llm_few_rounds):
            take(rig, (turn, route, case), lineup.plan.llm_leaves, lambda r=route, how=leave: how(r, runtime))


def run_queued(rig, lineup, slots):
    """Leaves calls that wait; the lineup's runtime has so many slots, which streams hold meanwhile."""
    for turn, route in lineup.turns("streams", lineup.plan.llm_few_rounds):
        if not route.name.startswith("llamapool"):
            continue
        with ExitStack() as running:
            try:
                for _ in range(slots):
                    running.enter_context(ChatStream(route.url, route.headers, 1_000_000, 50)).read(1)
            except (OSError, NotAnswered) as why:
                rig.note(f"llm cancel, queued, {route.name}: {why}")
                continue
            take(rig, (turn, route, "queued"), lineup.plan.llm_leaves, lambda r=route: leave_queued(r))


def take(rig, what, count, leave):
    """Samples one round. `leave` leaves one call and returns the milliseconds until it ended, None for never."""
    turn, route, case = what
    took, never = [], 0
    while len(took) < count and never < ENOUGH_NEVER:
        try:
            milliseconds = leave()
        except (OSError, NotAnswered) as why:
            rig.note(f"llm cancel, {case}, {route.name}: {why}")
            break
        if milliseconds is None:
            never += 1
        else:
            took.append(milliseconds)
    if took:
        took.sort()
        rig.sample("llm left p50", route.name, case, turn, (percentile(took, 50), "ms"))
        rig.sample("llm left p99", route.name, case, turn, (percentile(took, 99), "ms"))
    if took or never:
        rig.sample("llm left never", route.name, case, turn, (never, "calls"))


def leave_writing(route, runtime):
    with ChatStream(route.url, route.headers, BUSY_SECONDS * 1000 // PAUSE_MS, PAUSE_MS) as stream:
        stream.read(1)
        left = time.time_ns()
    return until_seen(runtime, left)


def leave_reading(route, runtime):
    before = runtime.arrived()
    with Asked(route.url, route.headers, chat(f"first_ms={BUSY_SECONDS * 1000}")):
        if not wait_for(lambda: runtime.arrived() > before):
            raise NotAnswered("a call did not reach the runtime")
        left = time.time_ns()
    return until_seen(runtime, left)


def until_seen(runtime, left):
    """Returns the milliseconds until the call ended, or waits for its own end and returns None."""
    if wait_for(lambda: runtime.left() >= left):
        return (runtime.left() - left) / 1e6
    time.sleep(BUSY_SECONDS - NOTICE_SECONDS)
    return None


def leave_queued(route):
    with Asked(route.url, route.headers, chat("first_ms=1")):
        if not wait_for(lambda: waiting(route.url, route.headers) == 1):
            raise NotAnswered("a call did not come into the queue")
        left = time.time_ns()
    # A look takes a part of the measured time, so that there is no pause between two.
    return (time.time_ns() - left) / 1e6 if wait_for(lambda: waiting(route.url, route.headers) == 0, 0) else None


def wait_for(condition, pause=LOOK_SECONDS):
    deadline = time.monotonic() + NOTICE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
