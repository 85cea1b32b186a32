"""Many relays of llamapool at one server, each a process of its own.

The one rule: there are never more than the memory that is free now can hold twice.
"""

import signal
import time

from paths.llamapool import QUIET, is_up, provider_url, public_end, relays_connected, start_relay
from rig.processes import memory
from rig.route import Ends

# What a relay takes by a large estimate, until one was measured.
RELAY_BYTES = 6_000_000
CONNECT_SECONDS = 300


class Herd:
    def __init__(self, rig, provider_port, log=QUIET):
        self.rig, self.log = rig, log
        self.ends = Ends.on_loopback(rig, provider_port)
        self.relays = []
        self.start_server()

    def start_server(self):
        self.server = public_end(self.rig, self.ends, self.log)
        wait_for(lambda: is_up(self.ends.port), 10)

    def kill_server(self):
        self.server.end(signal.SIGKILL)
        self.rig.processes.remove(self.server)

    def grow(self, count):
        """Starts relays until there are so many and all are connected; whether they are."""
        # A probe is not what an idle relay costs the server.
        provider = ["--provider-url", provider_url(self.ends.provider), "--probe-interval", "10m"]
        while len(self.relays) < count:
            self.relays.append(start_relay(self.rig, self.ends, f"relay-{len(self.relays)}", provider))
        return self.wait_for_relays(count, CONNECT_SECONDS)

    def wait_for_relays(self, count, seconds):
        return wait_for(lambda: self.connected() == count, seconds)

    def connected(self):
        return relays_connected(self.ends.port)

    def fits(self, count):
        """Whether there is memory for so many relays."""
        each = memory([self.relays[0].pid]) if self.relays else RELAY_BYTES
        return (count - len(self.relays)) * each * 2 < free_memory()

    def end(self):
        self.rig.end([*self.relays, self.server])


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_memory():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
