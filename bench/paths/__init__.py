"""The compared paths: one file for each peer, with its start and its address.

Each is started as in its own documents, with logging of single calls off and nothing else tuned.
"""

from paths import (bore, chisel, direct, fastmcp_proxy, frp, llamapool, nfrx, nginx, python_mcp_proxy, rathole, rust_mcp_proxy,
                   supergateway)

# Paths to a provider that speaks HTTP: first forwarders, then gateways.
HTTP = [direct.http, nginx.http, rathole.http, bore.http, frp.http, chisel.http, llamapool.http, nfrx.http, rust_mcp_proxy.http,
        fastmcp_proxy.http]
# Paths to a provider that is a program.
STDIO = [llamapool.stdio, rust_mcp_proxy.stdio, supergateway.stdio, python_mcp_proxy.stdio, fastmcp_proxy.stdio]

LABELS = {
    "direct": "straight to the provider",
    "nginx": "two nginx in a row",
    "rathole": "rathole (raw TCP)",
    "bore": "bore (raw TCP)",
    "frp": "frp (raw TCP)",
    "chisel": "chisel (raw TCP, SSH)",
    "llamapool": "llamapool",
    "llamapool-assembled": "llamapool, which assembles a stream",
    "llamapool-mcp": "an MCP call through llamapool",
    "llamapool-tls": "llamapool with TLS",
    "nginx-tls": "nginx with TLS in front of llamapool, relays past it",
    "nginx-tls-wss": "nginx with TLS in front of llamapool, relays through it",
    "llamapool-1-thread": "llamapool, server with one thread",
    "llamapool-2-threads": "llamapool, server with two threads",
    "nfrx": "nfrx, the original in Go",
    "vllm-router": "vllm-router",
    "sglang-router": "sglang-router",
    "smg": "SMG",
    "ollamamq": "ollamaMQ",
    "litellm": "LiteLLM's proxy",
    "rust-mcp-proxy": "mcp-proxy (Rust)",
    "fastmcp-proxy": "fastmcp's proxy",
    "supergateway": "supergateway",
    "python-mcp-proxy": "mcp-proxy (Python)",
}
