"""The paths of a call to LLM runtimes: straight to one, two nginx, llamapool, the original in Go, and routers of others.

llamapool is there twice: with the runtime asked for what the caller wants, and, as it does by itself with runtimes that do not
notice a caller that left, with a stream that the worker assembles. Routers dial their runtimes: they are one hop, where a tunnel has two.
"""

from paths import litellm, llamapool, nfrx, nginx, ollamamq, sglang_router, smg, vllm_router
from rig.chat_client import PATH
from rig.route import ChatRoute, Ends, Runtimes, SizedRoute

API_KEY = "bench-api-key"
HEADERS = {"Authorization": f"Bearer {API_KEY}"}
SECOND_CALLER = {"Authorization": "Bearer bench-second-key"}


def direct(rig, runtimes):
    return ChatRoute("direct", f"http://127.0.0.1:{runtimes.ports[0]}{PATH}", [])


def two_nginx(rig, runtimes):
    processes, port = nginx.in_a_row(rig, runtimes.ports)
    return ChatRoute("nginx", f"http://127.0.0.1:{port}{PATH}", processes)


def as_asked(rig, runtimes):
    return through_llamapool(rig, runtimes, ("llamapool", "as-asked"))


def assembled(rig, runtimes):
    return through_llamapool(rig, runtimes, ("llamapool-assembled", "always"))


def through_llamapool(rig, runtimes, what):
    """Starts a server and a worker beside each runtime; `what` is the name of the path, and how a runtime is asked."""
    name, form = what
    ends = Ends.on_loopback(rig, None)
    server = llamapool.public_end(rig, ends, more=["--llm-key", "bench-second-key"])
    workers = [start_worker(rig, ends, (f"{llamapool.ID}-{number}", port), ["--max-concurrency", runtimes.slots,
                                                                            "--upstream-stream", form])
               for number, port in enumerate(runtimes.ports)]
    return ChatRoute(name, llm_url(ends), [server, *workers], headers=HEADERS, second_caller=SECOND_CALLER)


def start_worker(rig, ends, what, more=()):
    """Starts a worker; `what` is its id and the port of its runtime."""
    name, runtime_port = what
    worker = [rig.parts.programs["llamapool"], "worker", "--reconnect", "--server-url", f"ws://{ends.host}:{ends.port}",
              "--worker-key", llamapool.KEY, "--worker-id", name, "--status-addr", "off", "--api-style", "openai",
              "--completion-base-url", f"http://127.0.0.1:{runtime_port}/v1", *more, *llamapool.QUIET]
    return rig.start("private", "llamapool-worker", worker)


def llm_url(ends):
    return f"http://{ends.host}:{ends.port}{PATH}"


def mcp_of_this_size(rig, provider_port):
    """An MCP call through llamapool whose request and answer are as large as those of the calls to an LLM beside it."""
    ends = Ends.on_loopback(rig, provider_port)
    provider = ["--provider-url", f"http://127.0.0.1:{provider_port}/sized"]
    processes = [llamapool.public_end(rig, ends), llamapool.start_relay(rig, ends, llamapool.ID, provider)]
    return SizedRoute("llamapool-mcp", llamapool.url(ends), processes, carries=frozenset({"calls"}))


def original(rig, runtimes):
    ends = Ends.on_loopback(rig, None)
    server = [rig.parts.programs["nfrx"], "-port", ends.port, "-metrics-port", ends.port, "-client-key", nfrx.KEY,
              "-api-key", API_KEY, "-plugins", "llm", "-log-level", "error"]
    processes = [rig.start("public", "nfrx", server)]
    for number, port in enumerate(runtimes.ports):
        worker = [rig.parts.programs["nfrx-llm"], "-reconnect", "-server-url", f"ws://{ends.host}:{ends.port}/api/llm/connect",
                  "-client-key", nfrx.KEY, "-client-id", f"{nfrx.ID}-{number}", "-completion-base-url",
                  f"http://127.0.0.1:{port}/v1", "-max-concurrency", runtimes.slots, "-log-level", "error"]
        processes.append(rig.start("private", "nfrx-llm", worker))
    return ChatRoute("nfrx", f"http://{ends.host}:{ends.port}/api/llm{PATH}", processes, headers=HEADERS)


direct.needs = []
two_nginx.needs = ["nginx"]
as_asked.needs = assembled.needs = mcp_of_this_size.needs = ["llamapool"]
original.needs = ["nfrx", "nfrx-llm"]

LLM = [direct, two_nginx, as_asked, assembled, original, vllm_router.chat, sglang_router.chat, smg.chat, ollamamq.chat,
       litellm.chat]
# Paths whose private side has processes that can end while the runtime goes on.
WITH_WORKERS = {as_asked, assembled, original}
