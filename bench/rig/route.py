"""A way that a call can take: its URL, and the processes it goes through.

The one rule: a route does not say how fast it is; it only says what it can carry.
"""

from dataclasses import dataclass, field

from rig.mcp_client import wait_until_called

# A gateway in Python on a busy machine takes seconds until it answers.
START_SECONDS = 60

# What every tunnel carries; gateways carry calls alone, as they make each message anew.
ANYTHING = frozenset({"calls", "streams", "bodies"})
CALLS = frozenset({"calls"})


@dataclass
class Route:
    name: str
    url: str
    processes: list
    carries: frozenset = ANYTHING
    # Gateways want a session; what only forwards does not know of any.
    in_session: bool = False
    headers: dict = field(default_factory=dict)
    tool: str = "echo"

    def wait(self):
        """Until a call comes through and is answered with its own id."""
        self.headers, self.tool = wait_until_called(self.url, START_SECONDS, self.in_session)
        return self

    def pids(self, role):
        return [process.pid for process in self.processes if process.role == role]


@dataclass
class Ends:
    """Where the two ends of a tunnel are: the host of the public one, its ports for the other end and for callers, and the
    provider's port beside the private one."""

    host: str
    control: int
    port: int
    provider: int

    @classmethod
    def on_loopback(cls, rig, provider_port):
        return cls("127.0.0.1", rig.port(), rig.port(), provider_port)
