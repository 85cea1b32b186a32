"""LiteLLM's proxy from PyPI: one API over many providers, in Python. It dials its runtimes: one hop.

It has its default settings: one process, no keys, no database.
"""

import os

from rig.chat_client import PATH
from rig.route import SLOW, ChatRoute

MODEL = """
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: http://127.0.0.1:{port}/v1
      api_key: none
"""
# Nothing outside the machine is asked: neither for the prices of models nor for telemetry.
ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}


def chat(rig, runtimes):
    port = rig.port()
    text = "model_list:" + "".join(MODEL.format(port=runtime) for runtime in runtimes.ports)
    command = [rig.parts.programs["litellm"], "--config", rig.file(f"litellm-{port}.yaml", text), "--host", "127.0.0.1",
               "--port", port, "--telemetry", "False"]
    process = rig.start("public", "litellm", command, {**os.environ, **ENVIRONMENT})
    return ChatRoute("litellm", f"http://127.0.0.1:{port}{PATH}", [process], SLOW)


chat.needs = ["litellm"]
