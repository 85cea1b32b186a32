"""Calls to an LLM with larger prompts: 8 KiB, and 100 KiB.

Samples: those of `calls`, by the names `llm 8 KiB` and `llm 100 KiB`, with the connections of one case.
"""

from dataclasses import replace

from measures.calls import take

PROMPTS = {"8 KiB": 8 * 1024, "100 KiB": 100 * 1024}
CONNECTIONS = 16


def run(rig, lineup, _runtime_port):
    for name, size in PROMPTS.items():
        for turn, route in lineup.turns("streams", lineup.plan.llm_few_rounds):
            take(rig, lineup, (turn, replace(route, tool=str(size)), CONNECTIONS), f"llm {name}")
