"""Objects 1, 3, 4, 15 and 35003: what the device is and what it uses."""

import gc

import coap
import senml
from coap import RequestError
from limits import RUNTIME_VERSION
from objects import Fixed
from runner import RUNNING
from senml import Link


class ServerObject:
    """Object 1: the lifetime may be written, and an update of the registration be asked for."""

    def __init__(self, registration):
        self._registration = registration

    def read(self, instance):
        return [(0, 1), (1, self._registration.lifetime_s)]

    def write(self, instance, resource, payload):
        lifetime_s = senml.number(payload, False)
        if resource != 1 or lifetime_s < 1:
            raise RequestError(coap.BAD_REQUEST, "write a lifetime of at least 1 s")
        self._registration.set_lifetime(lifetime_s)

    def execute(self, instance, resource):
        if resource != 8:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        self._registration.trigger()


class DeviceObject:
    """Object 3. `reboot()` is called when the gateway asks for it."""

    def __init__(self, settings, reboot):
        self._settings = settings
        self._reboot = reboot

    def read(self, instance):
        settings = self._settings
        gc.collect()
        values = [
            (0, settings["manufacturer"]),
            (1, settings["model"]),
            (2, settings["serial_number"]),
            (3, RUNTIME_VERSION),
            (10, gc.mem_free() // 1024),
            (11, [0]),
            (16, "U"),
            (17, settings["device_type"]),
            (18, settings["hardware_version"]),
            (19, RUNTIME_VERSION),
            (21, settings["heap_bytes"] // 1024),
        ]
        if settings["battery_percent"] is not None:
            values.insert(4, (9, settings["battery_percent"]))
        return values

    def execute(self, instance, resource):
        if resource != 4:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        self._reboot()


class Monitoring:
    """Object 35003: instance 0 for the whole device, the others have the ids of their instance of object 9."""

    def __init__(self, entries, host, busy_percent):
        self._entries = entries
        self._host = host
        self._busy_percent = busy_percent

    def instances(self):
        return [0] + sorted(self._entries)

    def read(self, instance):
        now = self._host.clock()
        link = Link(9, instance)
        cpu_percent = memory = uptime_ms = 0
        if not instance:
            link = Link(3, 0)
            gc.collect()
            cpu_percent, memory, uptime_ms, error = self._busy_percent(), gc.mem_alloc(), now, ""
        elif instance in self._host.runners:
            runner = self._host.runners[instance]
            cpu_percent, memory, error = runner.cpu_percent(now), runner.memory, runner.error
            uptime_ms = now - runner.since if runner.phase == RUNNING else 0
        else:
            error = self._entries[instance].error
        return [
            (27400, link),
            (27401, round(float(cpu_percent), 2)),
            (27402, memory),
            (27403, uptime_ms // 1000),
            (27404, error),
        ]


def connectivity(board):
    """Object 4."""

    def read(instance):
        addresses, strength = board.network()
        return [(0, board.settings["bearer"]), (2, strength), (4, addresses)]

    return Fixed(read)


def capabilities(board):
    """Object 15."""
    return Fixed(lambda instance: [(0, ";".join(board.capabilities())), (1, 0)])
