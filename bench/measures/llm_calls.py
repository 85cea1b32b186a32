"""The number of calls to an LLM a second, by number of connections, and the processor time of one on each side.

Requests and answers have 1 KiB. An MCP call of the same sizes through llamapool has its turns among them, so that the two are
compared in the same rounds.

Samples: those of `calls` by the name `llm`; `llm memory public`, `llm memory private` (MB; the sum of the largest resident memory
of each process while there are most connections).
"""

from measures.calls import take
from rig.processes import forget_peak, peak, tree


def run(rig, lineup, _runtime_port):
    most = max(lineup.plan.llm_connections)
    for connections in lineup.plan.llm_connections:
        for turn, route in lineup.turns():
            families = {role: members(route, role) for role in ("public", "private")}
            for pid in sum(families.values(), []):
                forget_peak(pid)
            take(rig, lineup, (turn, route, connections), "llm")
            for role, pids in families.items():
                if pids and connections == most:
                    rig.sample(f"llm memory {role}", route.name, connections, turn, (sum(map(peak, pids)) / 1e6, "MB"))


def members(route, role):
    return [member for pid in route.pids(role) for member, _ in tree(pid)]
