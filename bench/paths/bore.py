"""bore: a tunnel for raw TCP that opens a new connection through it for each of a caller's.

Its control port is fixed, so that each instance has its own loopback address.
"""

import socket
import time

from rig.route import Ends, Route

CONTROL_PORT = 7835


def http(rig, provider_port):
    ends = Ends(rig.address(), CONTROL_PORT, rig.port(), provider_port)
    return Route("bore", url(ends), [public_end(rig, ends), private_end(rig, ends)])


def public_end(rig, ends):
    command = [rig.parts.programs["bore"], "server", "--bind-addr", ends.host, "--bind-tunnels", ends.host]
    process = rig.start("public", "bore-server", command)
    _wait_for(ends.host)
    return process


def private_end(rig, ends):
    command = [rig.parts.programs["bore"], "local", ends.provider, "--local-host", "127.0.0.1", "--to", ends.host,
               "--port", ends.port]
    return rig.start("private", "bore-local", command)


def url(ends):
    return f"http://{ends.host}:{ends.port}/mcp"


def _wait_for(host):
    """Waits for the public end, without which bore's private end exits at once."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, CONTROL_PORT)) == 0:
                return
        time.sleep(0.002)


http.needs = ["bore"]
