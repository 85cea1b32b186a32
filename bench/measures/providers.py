"""The same calls to other providers: nginx with a static answer, and a real MCP server in Python, which is far slower than any path.

What a path costs weighs the less, the more its provider does. Of the server in Python there are few connections.

Samples: those of `calls` by the name `calls to nginx`, and `calls to fastmcp`; with each side on a core of its own, as in `apart`,
`apart to nginx` and `apart to fastmcp`.
"""

from dataclasses import replace

from measures import apart
from measures.calls import take
from paths.providers import PROVIDERS, paths_to
from rig.further import further_rounds
from rig.lineup import Lineup, bound

SLOW = {"fastmcp"}


def run(rig, plan):
    for name, start in PROVIDERS.items():
        if missing := [part for part in start.needs if not rig.parts.has(part)]:
            rig.note(f"calls to {name}: {', '.join(missing)} is not installed")
            continue
        run_one(rig, few_of(plan) if name in SLOW else plan, name, start)


def few_of(plan):
    """Returns the plan for a provider that answers some hundred calls a second."""
    return replace(plan, connections=plan.gateway_connections, call_seconds=plan.gateway_seconds)


def run_one(rig, plan, name, start):
    process, port = start(rig)
    lineup = Lineup(rig, plan, [bound(path, rig, port) for path in paths_to(start)], process.pid)
    lineup.warm()
    for connections in plan.connections:
        def take_turn(turn, route, connections=connections):
            take(rig, lineup, (turn, route, connections), f"calls to {name}")

        for turn, route in lineup.turns():
            take_turn(turn, route)
        further_rounds(rig, lineup, (f"calls to {name}", connections), take_turn)
    apart.run(rig, lineup, f"apart to {name}", plan.connections)
    lineup.end()
    rig.end([process])
