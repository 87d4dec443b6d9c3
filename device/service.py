"""What a service's functions get as their first parameter (docs/device-protocol.md, "Service API").

The only object of the runtime that service code is meant to touch.
"""

import time

import ipso

_LIMIT = 1 << 63


class Service:
    """One running service. `deliver(key, value)` is called with what the gateway writes to an
    input; `log` keeps what ``service.log(text)`` says."""

    def __init__(self, instance, header, board, ports, deliver, log):
        self.name = header["name"]
        self.version = header["version"]
        self.env = dict(header["env"])
        self.interval_ms = 1000
        self.log = log.add
        self._board = board
        self._ports = ports
        self._outputs = {}
        self._inputs = []
        prefix = "%d/" % instance
        for key, kind, mapping, unit in header["out"]:
            number, resource = ipso.of_mapping(mapping, False)
            self._outputs[key] = (number, kind, ipso.Port(prefix + key, unit, resource))
        for key, kind, mapping, unit in header["in"]:
            number, resource = ipso.of_mapping(mapping, True)
            port = ipso.Port(prefix + key, unit, resource, deliver=deliver, is_float=kind == 1)
            self._inputs.append((number, port))
        for number, port in self._inputs:
            ports.add(number, port)

    def sensor(self, capability):
        """The board's sensor: ``read()`` gives a number, ``unit`` its unit. OSError when there is none."""
        return self._board.sensor(capability)

    def output(self, key, value):
        """Give out a value. It appears with its first value, and changes travel to whoever observes it."""
        if key not in self._outputs:
            raise ValueError("%s has no output %s" % (self.name, key))
        number, kind, port = self._outputs[key]
        value = float(value) if kind == 1 else int(value)
        if kind != 1 and not -_LIMIT <= value < _LIMIT:
            raise ValueError("%s does not fit 64 bits" % key)
        port.value = value
        if port.path is None:
            self._ports.add(number, port)
        else:
            self._ports.changed(port.path)

    def ticks_ms(self):
        """A count of milliseconds that wraps around, for `time.ticks_diff`."""
        return time.ticks_ms()

    def close(self):
        """Take inputs and outputs away; called by the runtime."""
        for _, port in self._inputs:
            self._ports.remove(port)
        for _, _, port in self._outputs.values():
            self._ports.remove(port)
