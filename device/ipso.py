"""IPSO objects 33xx: what sensors measure, what services give out and take in, one instance each.

Source: the OMA LwM2M registry, objects 3300-3338; 5700 value, 5701 unit, 5750 application type, 5900 set point.
"""

import coap
import senml
from coap import RequestError
from micropython import const
from objects import ObjectBase

_UNIT = const(5701)
_APPLICATION = const(5750)
_GENERIC_OUTPUT = const(3300)
_GENERIC_INPUT = const(3308)
_LAST_INSTANCE = const(65534)

# Object and unit of capabilities; others are generic sensors.
_CAPABILITIES = {
    "illuminance_sensor": (3301, "lx"),
    "light_sensor": (3301, "lx"),
    "presence_sensor": (3302, ""),
    "temperature_sensor": (3303, "Cel"),
    "humidity_sensor": (3304, "%RH"),
    "pressure_sensor": (3315, "Pa"),
    "voltage_sensor": (3316, "V"),
    "current_sensor": (3317, "A"),
    "loudness_sensor": (3324, "dB"),
    "concentration_sensor": (3325, "ppm"),
    "power_sensor": (3328, "W"),
    "distance_sensor": (3330, "m"),
}


def of_capability(capability):
    """``(object, unit)`` of a board's sensor."""
    return _CAPABILITIES.get(capability, (_GENERIC_OUTPUT, ""))


def of_mapping(mapping, is_input):
    """``(object, resource)`` of a `data_model_mapping` like ``lwm2m:3303/x/5700``; the generic ones for ``""``."""
    if not mapping:
        return (_GENERIC_INPUT, 5900) if is_input else (_GENERIC_OUTPUT, 5700)
    try:
        scheme, path = mapping.split(":")
        number, _, resource = path.split("/")
        found = int(number), int(resource)
    except ValueError:
        found = None
    if found is None or scheme != "lwm2m" or not 3200 <= found[0] < 3500:
        raise ValueError("%r is not like lwm2m:3303/x/5700" % mapping)
    return found


class Port:
    """One instance: a value with its unit and application type. `value` is None as long as there is none."""

    def __init__(self, application, unit, resource):
        self.application = application
        self.unit = unit
        self.resource = resource
        self.path = None  # (object, instance) while it is in the tree
        self.value = None

    def read(self):
        return self.value

    def write(self, payload):
        raise RequestError(coap.METHOD_NOT_ALLOWED, "not writable")


class SensorPort(Port):
    """A board's sensor, measured when it is read. One that fails has no value."""

    def __init__(self, sensor, unit):
        Port.__init__(self, sensor.capability, sensor.unit or unit, 5700)
        self._sensor = sensor

    def read(self):
        try:
            return self._sensor.read()
        except OSError:
            return None


class InputPort(Port):
    """An input of a service; `deliver(key, value)` is called with what is written."""

    def __init__(self, application, unit, resource, is_float, deliver):
        Port.__init__(self, application, unit, resource)
        self._is_float = is_float
        self._deliver = deliver

    def write(self, payload):
        self.value = senml.number(payload, self._is_float)
        self._deliver(self.application.split("/", 1)[1], self.value)


class Ipso(ObjectBase):
    """One object with its ports by instance."""

    def __init__(self):
        self.ports = {}

    def instances(self):
        return sorted(self.ports)

    def read(self, instance):
        port = self.ports[instance]
        value = port.read()
        values = [] if value is None else [(port.resource, value)]
        if port.unit:
            values.append((_UNIT, port.unit))
        values.append((_APPLICATION, port.application))
        values.sort(key=_first)
        return values

    def write(self, instance, resource, payload):
        port = self.ports[instance]
        if resource != port.resource:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "not writable")
        port.write(payload)


class Ports:
    """Puts ports into the tree. `changed(path)` is told of every port that comes or goes."""

    def __init__(self, tree, changed):
        self._tree = tree
        self.changed = changed
        self._next = 0  # instance ids are not used again soon: an observer must not see another's values

    def add_sensor(self, sensor):
        """Make a sensor of the board an instance; its path."""
        number, unit = of_capability(sensor.capability)
        port = SensorPort(sensor, unit)
        self.add(number, port)
        return port.path

    def add(self, number, port):
        """Make `port` an instance of the object `number`."""
        found = self._tree.objects.get(number)
        if found is None:
            found = self._tree.objects[number] = Ipso()
        while self._next in found.ports:
            self._next = (self._next + 1) % _LAST_INSTANCE
        instance = self._next
        self._next = (self._next + 1) % _LAST_INSTANCE
        found.ports[instance] = port
        port.path = (number, instance)
        self._tree.version += 1

    def remove(self, port):
        """Take `port` out of the tree if it is there."""
        if port.path is None:
            return
        number, instance = port.path
        found = self._tree.objects[number]
        del found.ports[instance]
        if not found.ports:
            del self._tree.objects[number]
        self._tree.version += 1
        self.changed(port.path)
        port.path = None


def _first(item):
    return item[0]
