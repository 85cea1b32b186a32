"""Runs a command in a terminal of its own, presses Ctrl-C once when its demo is there, and ends as the command ends.

What the command prints is printed.
"""

import os
import pty
import re
import sys

# The URL that a demo prints when it is there.
READY = re.compile(rb"http://127\.0\.0\.1:\d+/api/mcp/id/demo")
CTRL_C = b"\x03"

process, terminal = pty.fork()
if process == 0:
    os.execvp(sys.argv[1], sys.argv[1:])

seen, pressed = b"", False
while True:
    try:
        output = os.read(terminal, 4096)
    except OSError:
        # The other end is closed.
        break
    if not output:
        break
    sys.stdout.buffer.write(output)
    sys.stdout.flush()
    seen += output
    if not pressed and READY.search(seen):
        pressed = True
        os.write(terminal, CTRL_C)

_, status = os.waitpid(process, 0)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
