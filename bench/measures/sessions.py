"""The cost of an idle session with a provider that is a program: all memory of the private side, programs included.

The memory is the proportional one of all descendants, so that shared pages count once, whichever process starts how many.

Samples: `session memory` (KB for each session), `session processes` (for each session).
"""

from rig.mcp_client import NotAnswered, open_session
from rig.processes import memory, tree


def run(rig, lineup):
    for turn, route in lineup.turns(rounds=lineup.plan.few_rounds):
        sessions, pids = lineup.plan.sessions, route.pids("private")
        before, family = memory(pids), _family(pids)
        try:
            for _ in range(sessions):
                open_session(route.url)
        except (OSError, NotAnswered) as why:
            rig.note(f"sessions, {route.name}: {why}")
            continue
        grown, more = memory(pids) - before, _family(pids) - family
        rig.sample("session memory", route.name, sessions, turn, (grown / sessions / 1e3, "KB"))
        rig.sample("session processes", route.name, sessions, turn, (more / sessions, "processes"))


def _family(pids):
    return sum(len(tree(pid)) for pid in pids)
