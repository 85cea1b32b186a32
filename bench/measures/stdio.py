"""The number of `tools/call` a second to a provider that is a program, in one session, by number of connections.

The calls of llamapool go through a server and a tunnel as well; the others stand next to the program.

Samples: as those of `calls.py`, named `stdio`.
"""

from measures.calls import take


def run(rig, lineup):
    for connections in lineup.plan.stdio_connections:
        for turn, route in lineup.turns():
            take(rig, lineup, (turn, route, connections), "stdio")
