"""A slow link between two network namespaces: it delays packets, and drops some.

It is a separate process that only copies packets between two TUN devices, because many kernels, in containers above all, have no
netem. If namespaces or TUN devices are not permitted there is no link, and the result contains the reason.

    python3 wire.py NAMESPACE NAMESPACE DELAY_MS LOSS_PERCENT
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from contextlib import contextmanager

ADDRESSES = {"public": "10.77.0.1", "private": "10.77.0.2"}
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# More than the packets in flight in any measure, so that only the wanted loss occurs.
QUEUE_PACKETS = 10_000
READY_SECONDS = 5


class NotPermitted(Exception):
    """The reason for a missing link."""


# --- Interface of measures ----------------------------------------------------------------------------------------------------


class Wire:
    def __init__(self, rig, delay_ms, loss_percent):
        self.names = {side: f"llamapool-bench-{os.getpid()}-{side}" for side in ADDRESSES}
        try:
            for name in self.names.values():
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            command = [sys.executable, __file__, *self.names.values(), delay_ms, loss_percent]
            self.process = rig.start("wire", "wire", command)
            self._wait()
        except (OSError, NotPermitted) as why:
            self.remove()
            raise NotPermitted(str(why)) from why

    @contextmanager
    def side(self, side):
        """Every process that is started in here, and every socket that is opened, is on that side of the link."""
        with open("/proc/self/ns/net") as home:
            _enter(self.names[side])
            try:
                yield ADDRESSES[side]
            finally:
                _setns(home.fileno())

    def remove(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def _wait(self):
        deadline = time.monotonic() + READY_SECONDS
        while b"ready" not in self.process.log.read_bytes():
            if not self.process.is_running() or time.monotonic() > deadline:
                said = self.process.log.read_text().strip().splitlines()
                raise NotPermitted(said[-1] if said else "the link did not come up")
            time.sleep(0.02)


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise NotPermitted(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _enter(name):
    with open(f"/run/netns/{name}") as namespace:
        _setns(namespace.fileno())


def _setns(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise NotPermitted(f"setns: {os.strerror(ctypes.get_errno())}")


# --- The process --------------------------------------------------------------------------------------------------------------


def main():
    *names, delay_ms, loss_percent = sys.argv[1:]
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    devices = []
    for name, (address, peer) in zip(names, [("10.77.0.1", "10.77.0.2"), ("10.77.0.2", "10.77.0.1")]):
        _enter(name)
        devices.append(_open_device())
        _ip("link", "set", "wire", "up", "mtu", "1500", "txqueuelen", str(QUEUE_PACKETS))
        _ip("addr", "add", address, "peer", peer, "dev", "wire")
        _setns(here)
    print("ready", flush=True)
    shift(devices, float(delay_ms) / 1e3, float(loss_percent) / 100)


def _open_device():
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"wire", IFF_TUN | IFF_NO_PI))
    return device


def shift(devices, delay, loss):
    """Runs until it is ended. The delay is the same for all packets, so that each direction is a queue."""
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    under_way = {device: collections.deque() for device in devices}
    chance = random.Random(77).random
    while True:
        now = time.monotonic()
        due = [queue[0][0] for queue in under_way.values() if queue]
        ready, _, _ = select.select(devices, [], [], max(0, min(due) - now) if due else None)
        now = time.monotonic()
        for device in ready:
            for packet in _packets(device):
                if chance() >= loss:
                    under_way[other[device]].append((now + delay, packet))
        for device, queue in under_way.items():
            while queue and queue[0][0] <= now:
                _send(device, queue.popleft()[1])


def _packets(device):
    """Yields the available packets, but only a few before the other direction gets its turn."""
    for _ in range(64):
        try:
            yield os.read(device, 2048)
        except BlockingIOError:
            return


def _send(device, packet):
    try:
        os.write(device, packet)
    except OSError:
        # A full or removed device drops packets, as links do.
        pass


if __name__ == "__main__":
    main()
