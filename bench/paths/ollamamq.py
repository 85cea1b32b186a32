"""ollamaMQ from crates.io: a queue in front of LLM runtimes that is fair to its users, in Rust. It dials its runtimes: one hop.

A user is the header X-User-ID. Each of its runtimes gets as many calls at once as it takes. It logs each call, and has no setting
against that but a file that it cannot open.
"""

import os

from rig.chat_client import PATH
from rig.route import ChatRoute

CONFIG = """
backends: [{backends}]
settings:
  max_concurrent_per_backend: {slots}
  request_log_path: {log}
models:
  - name: bench
    max_concurrent_requests: {slots}
"""


def chat(rig, runtimes):
    port = rig.port()
    backends = ", ".join(f'"http://127.0.0.1:{runtime}"' for runtime in runtimes.ports)
    text = CONFIG.format(backends=backends, slots=runtimes.slots, log=rig.folder / "missing" / "requests.jsonl")
    command = [rig.parts.programs["ollamaMQ"], "--no-tui", "--host", "127.0.0.1", "--port", port, "--model-config",
               rig.file(f"ollamamq-{port}.yaml", text)]
    process = rig.start("public", "ollamamq", command, {**os.environ, "RUST_LOG": "error"})
    return ChatRoute("ollamamq", f"http://127.0.0.1:{port}{PATH}", [process], headers={"X-User-ID": "one"},
                     second_caller={"X-User-ID": "two"})


chat.needs = ["ollamaMQ"]
