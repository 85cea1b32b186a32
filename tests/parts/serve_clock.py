"""Runs `clock.py`, the walkthrough's own server, unchanged, on a loopback port: `serve_clock.py [--port N]`.

It is a launcher, because that file listens on all interfaces at port 7777, as it should in its container. On a machine that runs
tests it must be reachable from that machine alone, and several may run. Only host and port differ: the file is executed as
`__main__`, with all its other arguments of FastMCP.
"""

import runpy
from pathlib import Path

from loopback import serve_on_loopback

serve_on_loopback()
runpy.run_path(str(Path(__file__).with_name("clock.py")), run_name="__main__")
