"""A count of instructions, and the rig whose processes run under callgrind to be counted.
"""

from collections import Counter
from dataclasses import dataclass, field

from rig import callgrind
from rig.rig import Rig

OURS = ("llamapool-",)


@dataclass
class Parts:
    programs: dict = field(default_factory=dict)


@dataclass
class Count:
    """The instructions of so many calls or events, by side and crate."""

    calls: int
    sides: dict

    def less(self, other):
        """Returns the calls that this count has more, and their instructions."""
        sides = {side: Counter({crate: count - other.sides[side][crate] for crate, count in crates.items()})
                 for side, crates in self.sides.items()}
        return Count(self.calls - other.calls, sides)

    def figures(self):
        """Returns the instructions of one call, by side."""
        return {side: round(counted(crates) / self.calls) for side, crates in self.sides.items()}


def least_of(counts):
    """Returns for each side the crates of the count with the fewest instructions."""
    return Count(counts[0].calls, {side: min((count.sides[side] for count in counts), key=counted) for side in counts[0].sides})


def counted(crates):
    """Returns the instructions of all crates, without what clears memory."""
    return crates.total() - crates[callgrind.CLEARING]


class CountedRig(Rig):
    """A rig that starts the processes with these beginnings of a name under callgrind."""

    def __init__(self, programs, keep=None, names=OURS):
        super().__init__(Parts(programs), quick=False)
        self.keep, self.names = keep, names

    def start(self, role, name, command, env=None):
        if name.startswith(self.names):
            command = callgrind.command(self.folder, name, command)
        return super().start(role, name, command, env)

    def count(self, case, route, calls, load):
        """Counts what a load takes that makes so many calls."""
        counters = {side: callgrind.ProcessCounts(self.folder, process.pid) for side, process in sides(route).items()}
        for counter in counters.values():
            counter.begin()
        load()
        texts = {side: counter.end() for side, counter in counters.items()}
        if self.keep:
            for side, text in texts.items():
                (self.keep / f"{case.replace(' ', '-')}-{side}.callgrind").write_text(text)
        return Count(calls, {side: callgrind.by_crate(text) for side, text in texts.items()})


def sides(route):
    """Returns the processes of a path by the side's name, the public one first: those of llamapool are called as their programs are."""
    names = {"public": "server", "private": "relay"} if route.name.startswith("llamapool") else {}
    in_order = sorted(route.processes, key=lambda process: process.role != "public")
    return {names.get(process.role, process.role): process for process in in_order}
