"""Objects 1, 3, 4, 15 and 35003: what the device is and what it uses."""

import gc

import coap
import senml
from coap import RequestError
from limits import RUNTIME_VERSION
from micropython import const
from objects import Fixed, ObjectBase
from senml import Link

_ETHERNET = const(41)
_REBOOT = const(4)


class ServerObject(ObjectBase):
    """Object 1: the lifetime may be written, and an update of the registration be asked for."""

    def __init__(self, registration):
        self._registration = registration

    def read(self, instance):
        return [(0, 1), (1, self._registration.lifetime_s)]

    def write(self, instance, resource, payload):
        if resource != 1:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "not writable")
        lifetime_s = senml.number(payload, False)
        if lifetime_s < 1:
            raise ValueError("a lifetime is at least 1 s")
        self._registration.set_lifetime(lifetime_s)

    def execute(self, instance, resource):
        if resource != 8:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "not executable")
        self._registration.trigger()


class DeviceObject(ObjectBase):
    """Object 3. `reboot()` is called when the gateway asks for it."""

    def __init__(self, board, reboot):
        self._board = board
        self._reboot = reboot

    def read(self, instance):
        board = self._board
        gc.collect()
        values = [
            (0, board.text("manufacturer", "FITA")),
            (1, board.text("model", "emulated")),
            (2, board.text("serial_number", board.endpoint)),
            (3, RUNTIME_VERSION),
            (10, gc.mem_free() // 1024),
            (11, [0]),
            (16, "U"),
            (17, board.text("device_type", "far-edge")),
            (18, board.text("hardware_version", "1")),
            (19, RUNTIME_VERSION),
            (21, board.heap_bytes // 1024),
        ]
        battery = board.battery_percent
        if battery is not None:
            values.insert(4, (9, battery))
        return values

    def execute(self, instance, resource):
        if resource != _REBOOT:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "not executable")
        self._reboot()


class Monitoring(ObjectBase):
    """Object 35003: instance 0 for the whole device, the others have the ids of their instance of object 9."""

    def __init__(self, installer, host, clock, busy_percent):
        self._installer = installer
        self._host = host
        self._clock = clock
        self._busy_percent = busy_percent

    def instances(self):
        return [0] + sorted(self._installer.entries)

    def read(self, instance):
        now = self._clock()
        if not instance:
            return _usage(Link(3, 0), self._busy_percent(), gc.mem_alloc(), now // 1000, "")
        runner = self._host.runners.get(instance)
        link = Link(9, instance)
        if runner is None:
            return _usage(link, 0.0, 0, 0, self._installer.entries[instance].error)
        uptime = (now - runner.since) // 1000 if runner.running else 0
        return _usage(link, runner.cpu_percent(now), runner.memory, uptime, runner.error)


def _usage(link, cpu_percent, memory, uptime_s, error):
    return [
        (27400, link),
        (27401, round(cpu_percent, 2)),
        (27402, memory),
        (27403, uptime_s),
        (27404, error),
    ]


def connectivity(board):
    """Object 4."""

    def values():
        return [
            (0, board.number("bearer", _ETHERNET)),
            (2, board.signal_strength()),
            (4, board.addresses()),
        ]

    return Fixed(values)


def capabilities(board):
    """Object 15."""
    return Fixed(lambda: [(0, ";".join(board.capabilities)), (1, 0)])
