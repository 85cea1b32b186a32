"""Two plain nginx in a row: as many HTTP hops as llamapool has, without a tunnel.

Connections to the next hop are kept, and bodies are not buffered, as in llamapool.
"""

from rig.route import Route

CONFIG = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
worker_processes auto;
worker_rlimit_nofile 16384;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 100000000;
    upstream next {{ server 127.0.0.1:{next}; keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://next;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"""


def http(rig, provider_port):
    public, private = rig.port(), rig.port()
    processes = [_start(rig, "private", private, provider_port), _start(rig, "public", public, private)]
    return Route("nginx", f"http://127.0.0.1:{public}/mcp", processes)


def _start(rig, role, port, next_port):
    folder = rig.folder / f"nginx-{port}"
    folder.mkdir()
    config = rig.file(f"nginx-{port}.conf", CONFIG.format(folder=folder, port=port, next=next_port))
    command = [rig.parts.programs["nginx"], "-p", folder, "-e", folder / "error.log", "-c", config]
    return rig.start(role, f"nginx-{role}", command)


http.needs = ["nginx"]
