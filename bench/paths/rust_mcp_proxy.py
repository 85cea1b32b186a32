"""mcp-proxy from crates.io: a gateway in Rust that stands next to the provider. It reads every message and writes it anew.

No middleware is configured, so that this is its minimal cost.
"""

from rig.route import CALLS, Route

CONFIG = """
[proxy]
name = "bench"
separator = "/"
[proxy.listen]
host = "127.0.0.1"
port = {port}
[[backends]]
name = "bench"
{backend}
[observability]
log_level = "warn"
"""


def http(rig, provider_port):
    return _route(rig, f'transport = "http"\nurl = "http://127.0.0.1:{provider_port}/mcp"')


def stdio(rig):
    return _route(rig, f'transport = "stdio"\ncommand = "{rig.parts.programs["stdio-echo"]}"\nargs = []')


def _route(rig, backend):
    port = rig.port()
    config = rig.file(f"rust-mcp-proxy-{port}.toml", CONFIG.format(port=port, backend=backend))
    process = rig.start("private", "rust-mcp-proxy", [rig.parts.programs["mcp-proxy (Rust)"], "--config", config])
    return Route("rust-mcp-proxy", f"http://127.0.0.1:{port}/", [process], CALLS, in_session=True)


http.needs = stdio.needs = ["mcp-proxy (Rust)"]
