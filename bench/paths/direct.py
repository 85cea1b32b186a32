"""Straight to the provider: what every other path is measured against.

The one rule: nothing stands in between.
"""

from rig.route import Route


def http(rig, provider_port):
    return Route("direct", f"http://127.0.0.1:{provider_port}/mcp", [])


http.needs = []
