"""IPSO objects 33xx: what sensors measure, what services give out and take in, one instance each.

Source: the OMA LwM2M registry, objects 3300-3338; 5700 value, 5701 unit, 5750 application type, 5900 set point.
"""

import coap
import senml
from coap import RequestError
from micropython import const

_VALUE = const(5700)
_UNIT = const(5701)
_APPLICATION = const(5750)
_SET_POINT = const(5900)
_GENERIC_OUTPUT = const(3300)
_GENERIC_INPUT = const(3308)
_LAST_INSTANCE = const(65534)


def of_mapping(mapping, is_input):
    """``(object, resource)`` of a `data_model_mapping` like ``lwm2m:3303/x/5700``; the generic ones for ``""``."""
    if not mapping:
        return (_GENERIC_INPUT, _SET_POINT) if is_input else (_GENERIC_OUTPUT, _VALUE)
    try:
        scheme, path = mapping.split(":")
        number, _, resource = path.split("/")
        found = int(number), int(resource)
    except ValueError:
        found = None
    if found is None or scheme != "lwm2m" or not 3200 <= found[0] < 3500:
        raise ValueError("bad mapping: " + mapping)
    return found


class Port:
    """One instance: a value with its unit and application type.

    The value is what `measure()` gives, with it; otherwise `value`, None as long as there is none. With
    `deliver(key, value)` the gateway may write it.
    """

    def __init__(self, application, unit, resource, measure=None, deliver=None, is_float=True):
        self.application = application
        self.unit = unit
        self.resource = resource
        self.value = None
        self.path = None  # (object, instance) while it is in the tree
        self.measure = measure
        self.deliver = deliver
        self.is_float = is_float


class Ipso:
    """One object with its ports by instance."""

    def __init__(self):
        self.ports = {}

    def instances(self):
        return sorted(self.ports)

    def read(self, instance):
        port = self.ports[instance]
        value = port.value
        if port.measure is not None:
            try:
                value = port.measure()
            except OSError:
                value = None  # a sensor that fails has no value, and the others are read all the same
        values = [(_APPLICATION, port.application)]
        if port.unit:
            values.insert(0, (_UNIT, port.unit))
        if value is not None:
            values.insert(0 if port.resource < _UNIT else len(values), (port.resource, value))
        return values

    def write(self, instance, resource, payload):
        port = self.ports[instance]
        if resource != port.resource or port.deliver is None:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        port.value = senml.number(payload, port.is_float)
        port.deliver(port.application.split("/", 1)[1], port.value)


class Ports:
    """Puts ports into the tree. `changed(path)` is told of every port whose value has changed or that goes."""

    def __init__(self, tree, changed):
        self._tree = tree
        self.changed = changed
        self._next = 0  # instance ids are not used again soon: an observer must not see another's values

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
