"""sglang-router from PyPI: the SGLang project's load balancer, in Rust. It dials its runtimes: one hop.

It has its default settings.
"""

from rig.chat_client import PATH
from rig.route import ChatRoute


def chat(rig, runtimes):
    port = rig.port()
    urls = [f"http://127.0.0.1:{runtime}" for runtime in runtimes.ports]
    command = [rig.parts.programs["sglang-router"], "launch", "--host", "127.0.0.1", "--port", port, "--prometheus-host", "127.0.0.1",
               "--prometheus-port", rig.port(), "--log-level", "error", "--worker-urls", *urls]
    process = rig.start("public", "sglang-router", command)
    return ChatRoute("sglang-router", f"http://127.0.0.1:{port}{PATH}", [process])


chat.needs = ["sglang-router"]
