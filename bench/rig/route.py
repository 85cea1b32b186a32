"""A path of a call: its URL, and the processes that it crosses.

A route has no speed; it only declares the loads that it supports.
"""

from dataclasses import dataclass, field

from rig.chat_client import wait_until_answered
from rig.mcp_client import NotAnswered, wait_until_called

# A gateway in Python on a busy machine takes seconds until it answers.
START_SECONDS = 60

# The loads of every tunnel; gateways carry calls alone, as they write each message anew.
ANYTHING = frozenset({"calls", "streams", "bodies"})
CALLS = frozenset({"calls"})
# A peer of the LLM measures that answers some hundred calls a second at most: no fixed rate, and fewer streams at once.
SLOW = frozenset({"calls", "streams"})
CHAT = SLOW | {"rate"}


@dataclass
class Route:
    name: str
    url: str
    processes: list
    carries: frozenset = ANYTHING
    # Gateways require a session; forwarders have none.
    in_session: bool = False
    headers: dict = field(default_factory=dict)
    tool: str = "echo"
    # The script of the load generator that makes its requests.
    script: str = "call.lua"
    # The id of every answer, where the provider sends one answer to all calls.
    answered_id: int | None = None

    def wait(self):
        """Waits until a call is answered with its own id."""
        self.headers, self.tool = wait_until_called(self.url, START_SECONDS, self.in_session, self.answered_id)
        return self

    def pids(self, role):
        return [process.pid for process in self.processes if process.role == role]


@dataclass(frozen=True)
class Runtimes:
    """The LLM runtimes behind a path: the ports of all, and the calls that each runs at once."""

    ports: tuple
    slots: int


@dataclass
class ChatRoute(Route):
    """A path of a call to an LLM runtime."""

    carries: frozenset = CHAT
    # The bytes of a request, and words in its prompt.
    tool: str = "1024"
    script: str = "chat.lua"
    # The headers of a second caller, with a key of its own where the path has keys.
    second_caller: dict = field(default_factory=dict)

    def wait(self):
        """Waits until a chat is answered, or a process of the path has ended."""
        wait_until_answered(self.url, self.headers, START_SECONDS, self._check)
        return self

    def _check(self):
        for process in self.processes:
            if not process.is_running():
                raise NotAnswered(f"{process.name} has ended; its log was {process.last_line()!r}")


@dataclass
class SizedRoute(Route):
    """A path of an MCP call whose request and answer are as large as those of a call to an LLM."""

    tool: str = "echo 1024"

    def wait(self):
        """Waits until a call is answered."""
        wait_until_called(self.url, START_SECONDS, in_session=False)
        return self


@dataclass
class Ends:
    """The addresses of the two ends of a tunnel: the host of the public one, its ports for the other end and for callers, and the
    provider's port beside the private one."""

    host: str
    control: int
    port: int
    provider: int

    @classmethod
    def on_loopback(cls, rig, provider_port):
        return cls("127.0.0.1", rig.port(), rig.port(), provider_port)
