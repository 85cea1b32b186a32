"""TLS for callers: by llamapool itself, and by nginx in front of it.

All have the same key, of ECDSA on P-256. Relays dial llamapool past nginx, and through it, as they would where nginx has the public
name.
"""

import subprocess
from dataclasses import dataclass

from paths import llamapool, nginx
from rig.route import CALLS, Ends, Route

# The name of the certificate, which is its own authority for the relays.
HOST = "localhost"


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    chain: object
    key: object

    @classmethod
    def make(cls, rig):
        chain, key = rig.folder / f"tls-{rig.port()}.pem", rig.folder / f"tls-{rig.port()}.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7", "-subj",
                   f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-addext", "basicConstraints=critical,CA:FALSE",
                   "-keyout", key, "-out", chain]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        key.chmod(0o600)
        return cls(chain, key)


def own(rig, provider_port):
    """llamapool with a certificate; the relay dials wss."""
    pair, ends = Pair.make(rig), Ends.on_loopback(rig, provider_port)
    more = ["--tls-cert-file", pair.chain, "--tls-key-file", pair.key]
    server = llamapool.public_end(rig, ends, more=more)
    return _route("llamapool-tls", ends.port, [server, _relay(rig, f"wss://{HOST}:{ends.port}", pair, provider_port)])


def in_front(rig, provider_port):
    """nginx with the certificate; the relay dials llamapool."""
    pair, ends, port = Pair.make(rig), Ends.on_loopback(rig, provider_port), rig.port()
    relay = _relay(rig, f"ws://{ends.host}:{ends.port}", pair, provider_port)
    return _route("nginx-tls", port, [_nginx(rig, port, pair, ends), llamapool.public_end(rig, ends), relay])


def in_front_of_both(rig, provider_port):
    """nginx with the certificate; the relay dials nginx by wss."""
    pair, ends, port = Pair.make(rig), Ends.on_loopback(rig, provider_port), rig.port()
    relay = _relay(rig, f"wss://{HOST}:{port}", pair, provider_port)
    return _route("nginx-tls-wss", port, [_nginx(rig, port, pair, ends), llamapool.public_end(rig, ends), relay])


def _route(name, port, processes):
    return Route(name, f"https://{HOST}:{port}/api/mcp/id/{llamapool.ID}", processes, CALLS)


def _relay(rig, server_url, pair, provider_port):
    command = [rig.parts.programs["llamapool"], "mcp", "--reconnect", "--server-url", server_url, "--worker-key", llamapool.KEY,
               "--client-id", llamapool.ID, "--status-addr", "off", "--ca-file", pair.chain, *llamapool.QUIET,
               "--provider-url", llamapool.provider_url(provider_port)]
    return rig.start("private", "llamapool-relay", command)


def _nginx(rig, port, pair, ends):
    # Older nginx offers nothing newer than TLS 1.2 by itself.
    tls = f"ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {pair.chain}; ssl_certificate_key {pair.key}"
    return nginx.start(rig, "public", f"{port} {tls}", [ends.port], UPGRADE)


# Where relays connect.
UPGRADE = """
        location = /api/mcp/connect {
            proxy_pass http://next;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }"""

own.needs = ["llamapool", "openssl"]
in_front.needs = in_front_of_both.needs = ["llamapool", "nginx", "openssl"]
ALL = [own, in_front, in_front_of_both]
