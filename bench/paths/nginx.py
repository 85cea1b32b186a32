"""Two plain nginx in a row: as many HTTP hops as llamapool has, without a tunnel.

Connections to the next hop are kept, and bodies are not buffered, as in llamapool.
"""

from rig.route import Route

PROCESS = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
worker_processes {workers};
worker_rlimit_nofile 16384;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    {http}
}}
"""
PROXY = """
    client_max_body_size 0;
    upstream next {{ {next} keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{listen};
        location / {{
            proxy_pass http://next;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
        }}{more}
    }}
"""


def http(rig, provider_port):
    processes, port = in_a_row(rig, [provider_port])
    return Route("nginx", f"http://127.0.0.1:{port}/mcp", processes)


def in_a_row(rig, provider_ports):
    """Starts two and returns them with the port of the first, which the callers reach."""
    public, private = rig.port(), rig.port()
    return [start(rig, "private", private, provider_ports), start(rig, "public", public, [private])], public


def start(rig, role, listen, next_ports, more=""):
    """`listen` is the port, with what nginx is to do with it."""
    servers = " ".join(f"server 127.0.0.1:{next_port};" for next_port in next_ports)
    http = PROXY.format(listen=listen, next=servers, more=more)
    return start_process(rig, (role, f"nginx-{role}"), str(listen).split()[0], ("auto", http))


def start_process(rig, names, port, what):
    """Starts an nginx by its role and name; `what` is the number of its workers, and what they do with HTTP."""
    role, name = names
    workers, http = what
    folder = rig.folder / f"nginx-{port}"
    folder.mkdir()
    config = rig.file(f"nginx-{port}.conf", PROCESS.format(folder=folder, workers=workers, http=http))
    command = [rig.parts.programs["nginx"], "-p", folder, "-e", folder / "error.log", "-c", config]
    return rig.start(role, name, command)


http.needs = ["nginx"]
