"""llamapool: a server and a relay, to a provider that speaks HTTP or to one that is a program.

It has its default settings, except for the size of a request's body, which the measure of large bodies exceeds.
"""

from rig.mcp_client import get
from rig.route import CALLS, Ends, Route

KEY = "bench-key"
ID = "bench"
ONE_THREAD, TWO_THREADS = "llamapool-1-thread", "llamapool-2-threads"
QUIET = ("--log-level", "warn")


def http(rig, provider_port):
    ends = Ends.on_loopback(rig, provider_port)
    return Route("llamapool", url(ends), [public_end(rig, ends), private_end(rig, ends)])


def one_thread(rig, provider_port):
    return _with_threads(rig, provider_port, (ONE_THREAD, 1))


def two_threads(rig, provider_port):
    return _with_threads(rig, provider_port, (TWO_THREADS, 2))


def _with_threads(rig, provider_port, what):
    """`what` is the name of the path and the number of the server's worker threads."""
    name, threads = what
    ends = Ends.on_loopback(rig, provider_port)
    return Route(name, url(ends), [public_end(rig, ends, more=["--threads", threads]), private_end(rig, ends)])


def stdio(rig):
    ends = Ends.on_loopback(rig, None)
    program = ["--max-sessions", 1000, "--provider-max-starts", 10000, "--", rig.parts.programs["stdio-echo"]]
    processes = [public_end(rig, ends), start_relay(rig, ends, ID, program)]
    return Route("llamapool", url(ends), processes, CALLS, in_session=True)


def public_end(rig, ends, log=QUIET, more=()):
    """Relays connect to the port of the callers: the control port is not needed."""
    command = [rig.parts.programs["llamapool"], "server", "--bind-addr", ends.host, "--port", ends.port, "--worker-key", KEY,
               "--api-key", "bench-api-key", "--max-request-bytes", "1GiB",
               # The looks at the store of keys come by the clock, and would be counted to the calls of a slow run.
               "--data-dir", "off", *more, *log]
    return rig.start("public", "llamapool-server", command)


def private_end(rig, ends):
    return start_relay(rig, ends, ID, ["--provider-url", provider_url(ends.provider)])


def start_relay(rig, ends, name, provider):
    command = [rig.parts.programs["llamapool"], "mcp", "--reconnect", "--server-url", f"ws://{ends.host}:{ends.port}",
               "--worker-key", KEY, "--client-id", name, "--status-addr", "off", *QUIET, *provider]
    return rig.start("private", "llamapool-relay", command)


def url(ends):
    return f"http://{ends.host}:{ends.port}/api/mcp/id/{ID}"


def provider_url(port):
    return f"http://127.0.0.1:{port}/mcp"


def is_up(port):
    return _metrics(port) != ""


def relays_connected(port):
    """Returns the number of connected relays in the server's metrics, 0 if it does not answer."""
    lines = [line for line in _metrics(port).splitlines() if line.startswith("llamapool_relays_connected ")]
    return int(float(lines[0].split()[1])) if lines else 0


def _metrics(port):
    try:
        status, text = get(f"http://127.0.0.1:{port}/metrics")
    except OSError:
        return ""
    return text if status == 200 else ""


http.needs = stdio.needs = one_thread.needs = two_threads.needs = ["llamapool"]
