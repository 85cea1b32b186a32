"""The paths of a call to an LLM runtime: straight to it, two nginx, llamapool, and the original in Go.

llamapool is there twice: with the runtime asked for what the caller wants, and, as it does by itself with runtimes that do not notice
a caller that left, with a stream that the worker assembles.
"""

from paths import llamapool, nginx, nfrx
from rig.chat_client import PATH
from rig.route import ChatRoute, Ends

API_KEY = "bench-api-key"
HEADERS = {"Authorization": f"Bearer {API_KEY}"}
# More than the benchmark's connections, so that nothing waits for a slot.
CONCURRENCY = 64


def direct(rig, runtime_port):
    return ChatRoute("direct", f"http://127.0.0.1:{runtime_port}{PATH}", [])


def two_nginx(rig, runtime_port):
    route = nginx.http(rig, runtime_port)
    return ChatRoute("nginx", route.url.replace("/mcp", PATH), route.processes)


def as_asked(rig, runtime_port):
    return through_llamapool(rig, runtime_port, ("llamapool", "as-asked"))


def assembled(rig, runtime_port):
    return through_llamapool(rig, runtime_port, ("llamapool-assembled", "always"))


def through_llamapool(rig, runtime_port, what):
    name, form = what
    ends = Ends.on_loopback(rig, runtime_port)
    worker = [rig.parts.programs["llamapool"], "worker", "--reconnect", "--server-url", f"ws://{ends.host}:{ends.port}",
              "--worker-key", llamapool.KEY, "--worker-id", llamapool.ID, "--status-addr", "off", "--api-style", "openai",
              "--completion-base-url", f"http://127.0.0.1:{runtime_port}/v1", "--max-concurrency", CONCURRENCY,
              "--upstream-stream", form, *llamapool.QUIET]
    processes = [llamapool.public_end(rig, ends), rig.start("private", "llamapool-worker", worker)]
    return ChatRoute(name, f"http://{ends.host}:{ends.port}{PATH}", processes, headers=HEADERS)


def original(rig, runtime_port):
    ends = Ends.on_loopback(rig, runtime_port)
    server = [rig.parts.programs["nfrx"], "-port", ends.port, "-metrics-port", ends.port, "-client-key", nfrx.KEY,
              "-api-key", API_KEY, "-plugins", "llm", "-log-level", "error"]
    worker = [rig.parts.programs["nfrx-llm"], "-reconnect", "-server-url", f"ws://{ends.host}:{ends.port}/api/llm/connect",
              "-client-key", nfrx.KEY, "-client-id", nfrx.ID, "-completion-base-url", f"http://127.0.0.1:{ends.provider}/v1",
              "-max-concurrency", CONCURRENCY, "-log-level", "error"]
    processes = [rig.start("public", "nfrx", server), rig.start("private", "nfrx-llm", worker)]
    return ChatRoute("nfrx", f"http://{ends.host}:{ends.port}/api/llm{PATH}", processes, headers=HEADERS)


direct.needs = []
two_nginx.needs = ["nginx"]
as_asked.needs = assembled.needs = ["llamapool"]
original.needs = ["nfrx", "nfrx-llm"]

LLM = [direct, two_nginx, as_asked, assembled, original]
