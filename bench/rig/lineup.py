"""All paths side by side: started once, idle until it is their turn, measured in rounds.

The one rule: in a round each path has one turn, and the next round begins with another path, so that what else happens on the
machine hits all of them alike and figures of one round can be compared pair by pair.
"""

from rig.load import as_fast_as_it_goes
from rig.mcp_client import NotAnswered
from rig.processes import cpu_seconds, machine_busy_seconds


class Lineup:
    def __init__(self, rig, plan, paths, provider_pid=None):
        self.rig, self.plan, self.provider_pid = rig, plan, provider_pid
        self.routes = []
        for start in paths:
            if missing := [part for part in start.needs if not rig.parts.has(part)]:
                rig.note(f"{start.__module__.split('.')[-1]} was left out: {', '.join(missing)} is not installed")
                continue
            self._begin(start)

    def _begin(self, start):
        route = start()
        try:
            self.routes.append(route.wait())
            print(f"  {route.name}: answers", flush=True)
        except NotAnswered as why:
            self.rig.note(f"{route.name} was left out: {why}")
            self.rig.end(route.processes)

    def turns(self, carrying="calls"):
        """Round and route, in the order in which they are to be measured."""
        routes = [route for route in self.routes if carrying in route.carries]
        for turn in range(self.plan.rounds):
            first = turn % max(1, len(routes))
            for route in routes[first:] + routes[:first]:
                yield turn, route

    def end(self):
        for route in self.routes:
            self.rig.end(route.processes)

    # --- What several measures need ---

    def warm(self):
        """So that no first turn pays for what is done once."""
        for route in self.routes:
            as_fast_as_it_goes(route, 4, self.plan.warm_seconds)

    def cpu(self, route):
        """The processor time of each role on this path, and of the whole machine."""
        roles = {role: cpu_seconds(route.pids(role)) for role in ("public", "private") if route.pids(role)}
        if self.provider_pid:
            roles["provider"] = cpu_seconds([self.provider_pid])
        return roles, machine_busy_seconds()


def spent(before, after):
    """What was spent between two looks of `Lineup.cpu`: seconds for each role, and of the whole machine."""
    return {role: after[0][role] - before[0][role] for role in before[0]}, after[1] - before[1]
