"""All paths side by side: started once, idle until their turn, measured in rounds.

In a round each path has one turn, and the next round begins with another path, so that other load on the machine affects all of
them alike, and figures of one round can be compared pair by pair.
"""

from rig.load import at_full_speed
from rig.mcp_client import NotAnswered
from rig.processes import cpu_seconds, machine_seconds


class Lineup:
    def __init__(self, rig, plan, paths, provider_pid=None):
        self.rig, self.plan, self.provider_pid = rig, plan, provider_pid
        self.routes = []
        for start in paths:
            if missing := [part for part in start.needs if not rig.parts.has(part)]:
                rig.note(f"{_name(start)} was left out: {', '.join(missing)} is not installed")
                continue
            self._begin(start)

    def _begin(self, start):
        try:
            route = start()
        except OSError as why:
            self.rig.note(f"{_name(start)} was left out: {why}")
            return
        try:
            self.routes.append(route.wait())
            print(f"  {route.name}: answers", flush=True)
        except NotAnswered as why:
            self.rig.note(f"{route.name} was left out: {why}")
            self.rig.end(route.processes)

    def turns(self, carrying="calls", rounds=None):
        """Yields round and route in the order of measuring, in the rounds of the plan or fewer."""
        routes = [route for route in self.routes if carrying in route.carries]
        for turn in range(rounds or self.plan.rounds):
            first = turn % max(1, len(routes))
            for route in routes[first:] + routes[:first]:
                yield turn, route

    def end(self):
        for route in self.routes:
            self.rig.end(route.processes)

    # --- What several measures need ---

    def warm(self):
        """Warms all paths up, so that no first turn includes work that is done once."""
        for route in self.routes:
            at_full_speed(route, 4, self.plan.warm_seconds)

    def cpu(self, route):
        """Returns the processor time of each role on this path, and that of the whole machine, used and idle."""
        roles = {role: cpu_seconds(route.pids(role)) for role in ("public", "private") if route.pids(role)}
        if self.provider_pid:
            roles["provider"] = cpu_seconds([self.provider_pid])
        return roles, machine_seconds()


def _name(start):
    """Returns the name of a path by its start: that of its file, and its own where one file has several."""
    file = start.__module__.split(".")[-1]
    return f"{file}, {start.__name__}," if file == "llm" else file


def bound(start, *what):
    """Wraps the path's start with the values that it needs; the wrapper keeps its name and its needs."""
    def begin():
        return start(*what)
    begin.needs, begin.__module__, begin.__name__ = start.needs, start.__module__, start.__name__
    return begin


def spent(before, after):
    """Returns the difference of two values of `Lineup.cpu`: seconds for each role, and of the whole machine, used and idle."""
    roles = {role: after[0][role] - before[0][role] for role in before[0]}
    return roles, tuple(late - early for early, late in zip(before[1], after[1]))
