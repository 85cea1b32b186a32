"""LiteLLM's proxy from PyPI: one API over many providers, in Python. It dials its runtimes: one hop.

It has its default settings: one process, and no database, without which it has one key.
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
# It starts with none that looks weak to it.
KEY = "sk-4d1f0c9be8a75236bench7e0a9d35c8f16b42"
# Nothing outside the machine is asked: neither for the prices of models nor for telemetry.
ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True",
               "LITELLM_MASTER_KEY": KEY}


def chat(rig, runtimes):
    port = rig.port()
    text = "model_list:" + "".join(MODEL.format(port=runtime) for runtime in runtimes.ports)
    command = [rig.parts.programs["litellm"], "--config", rig.file(f"litellm-{port}.yaml", text), "--host", "127.0.0.1",
               "--port", port, "--telemetry", "False"]
    process = rig.start("public", "litellm", command, {**os.environ, **ENVIRONMENT})
    return ChatRoute("litellm", f"http://127.0.0.1:{port}{PATH}", [process], SLOW,
                     headers={"Authorization": f"Bearer {KEY}"})


chat.needs = ["litellm"]
