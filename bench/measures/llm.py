"""The measures of calls to LLMs, in the order of a run: a table of contents, as `run` is of all.

Most have a runtime that has a slot for every call. Some need one with few slots, for which calls wait, and some start processes of
their own. Each measure describes its samples at its head.
"""

import time
from dataclasses import replace

from measures import llm_calls, llm_cancel, llm_failover, llm_keys, llm_latency, llm_prompts, llm_return, llm_streams
from paths.llm import LLM, mcp_of_this_size
from rig.lineup import Lineup, bound
from rig.route import Runtimes

SIDE_BY_SIDE = {"llm_calls": llm_calls, "llm_latency": llm_latency, "llm_streams": llm_streams, "llm_cancel": llm_cancel,
                "llm_prompts": llm_prompts}
ON_THEIR_OWN = {"llm_failover": llm_failover, "llm_return": llm_return}
ALL = [*SIDE_BY_SIDE, "llm_keys", *ON_THEIR_OWN]
# More slots than any measure has calls at once; and few.
MANY, FEW = 256, 4


def run(rig, plan, wanted, provider_port):
    plan = replace(plan, rounds=plan.llm_rounds, call_seconds=plan.llm_seconds, gateway_seconds=2 * plan.llm_seconds)
    if wanted & set(SIDE_BY_SIDE):
        with Pool(rig, plan, MANY, [bound(mcp_of_this_size, rig, provider_port)]) as pool:
            for name in SIDE_BY_SIDE:
                if name in wanted:
                    _say(name)
                    SIDE_BY_SIDE[name].run(rig, pool.lineup, pool.port)
    if wanted & {"llm_cancel", "llm_keys"}:
        with Pool(rig, plan, FEW) as pool:
            if "llm_cancel" in wanted:
                _say("llm_cancel, queued")
                llm_cancel.run_queued(rig, pool.lineup, FEW)
            if "llm_keys" in wanted:
                _say("llm_keys")
                llm_keys.run(rig, pool.lineup, pool.port)
    for name, measure in ON_THEIR_OWN.items():
        if name in wanted:
            _say(name)
            measure.run(rig, plan)


class Pool:
    """One runtime of so many slots with all paths to it, and further paths, for as long as it is entered."""

    def __init__(self, rig, plan, slots, more=()):
        self.port = rig.port()
        self._rig = rig
        self._runtime = rig.start("provider", "llm-mock", [rig.parts.programs["llm-mock"], self.port, "127.0.0.1", slots])
        starts = [bound(start, rig, Runtimes((self.port,), slots)) for start in LLM]
        self.lineup = Lineup(rig, plan, [*starts, *more], self._runtime.pid)

    def __enter__(self):
        self.lineup.warm()
        return self

    def __exit__(self, *_):
        self.lineup.end()
        self._rig.end([self._runtime])


def _say(what):
    print(f"[{time.strftime('%H:%M:%S')}] {what}", flush=True)
