"""vllm-router from PyPI: the vLLM project's load balancer, in Rust. It dials its runtimes: one hop.

It has its default settings. Runtimes have no keys for their callers, nor has it.
"""

from rig.chat_client import PATH
from rig.route import ChatRoute


def chat(rig, runtimes):
    port = rig.port()
    urls = [f"http://127.0.0.1:{runtime}" for runtime in runtimes.ports]
    command = [rig.parts.programs["vllm-router"], "--host", "127.0.0.1", "--port", port, "--prometheus-host", "127.0.0.1",
               "--prometheus-port", rig.port(), "--log-level", "error", "--worker-urls", *urls]
    process = rig.start("public", "vllm-router", command)
    return ChatRoute("vllm-router", f"http://127.0.0.1:{port}{PATH}", [process])


chat.needs = ["vllm-router"]
