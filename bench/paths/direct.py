"""The direct path to the provider, which every other path is compared with.
"""

from rig.route import Route


def http(rig, provider_port):
    return Route("direct", f"http://127.0.0.1:{provider_port}/mcp", [])


http.needs = []
