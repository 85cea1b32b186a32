"""Runs `clock.py`, the walkthrough's own server, unchanged, on a loopback port: `serve_clock.py [--port N]`.

A launcher, because that file listens on all interfaces at port 7777, as it should in its container. On a machine that runs
tests it must be reachable from that machine alone, and more than one may run. Host and port are all that differs: the file is
executed as `__main__`, and everything else it asks of FastMCP is left as it stands.
"""

import runpy
from pathlib import Path

from loopback import serve_on_loopback

serve_on_loopback()
runpy.run_path(str(Path(__file__).with_name("clock.py")), run_name="__main__")
