"""Many relays of llamapool at one server, each a process of its own. `start_one` and `connected` are what a kind of relay differs in.

There are never more than half of those for which there is free memory.
"""

import signal
import time

from paths.llamapool import QUIET, is_up, provider_url, public_end, relays_connected, start_relay
from rig.processes import memory
from rig.route import Ends

# A large estimate of the memory of a relay, until one was measured.
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
        """Starts relays up to this number, and returns whether all of them connected."""
        while len(self.relays) < count:
            self.relays.append(self.start_one(len(self.relays)))
        return self.wait_for_relays(count, CONNECT_SECONDS)

    def start_one(self, number):
        # Probes are not part of the cost of an idle relay.
        provider = ["--provider-url", provider_url(self.ends.provider), "--probe-interval", "10m"]
        return start_relay(self.rig, self.ends, f"relay-{number}", provider)

    def wait_for_relays(self, count, seconds):
        return wait_for(lambda: self.connected() == count, seconds)

    def connected(self):
        return relays_connected(self.ends.port)

    def fits(self, count):
        """Returns whether there is memory for this many relays."""
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
