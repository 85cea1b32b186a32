"""supergateway from npm: makes a program reachable over HTTP, with one process for each session.

It listens on all addresses and has no setting for that, so that a preload keeps it on loopback.
"""

import os

from rig.route import CALLS, Route

LOOPBACK = """
const { Server } = require('node:net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
    const accepted = rest.filter((each) => typeof each === 'function');
    return listen.call(this, { host: '127.0.0.1', port: Number(port) }, ...accepted);
};
"""


def stdio(rig):
    port = rig.port()
    command = [rig.parts.programs["supergateway"], "--stdio", rig.parts.programs["stdio-echo"], "--outputTransport",
               "streamableHttp", "--stateful", "--port", port, "--logLevel", "none"]
    environment = {**os.environ, "NODE_OPTIONS": f"--require {rig.file('loopback.cjs', LOOPBACK)}"}
    process = rig.start("private", "supergateway", command, environment)
    return Route("supergateway", f"http://127.0.0.1:{port}/mcp", [process], CALLS, in_session=True)


stdio.needs = ["supergateway"]
