"""The tree of LwM2M objects: paths to values and operations; and the link format of registrations.

An object is anything with ``read(instance)``, which returns a list of ``(resource, value)`` in the order of the
resources; a resource with several instances has a list of its values. Values are computed when they are read.
What else an object may have, and is answered 4.05 without:

- ``instances()``: the ids of its instances, in order; without it there is only 0
- ``read_apart(instance, resource)``: a resource that only a read of itself shows, None without one
- ``write(instance, resource, payload)``: replace one resource by its text form
- ``write_block(instance, resource, offset, data, more)``: take a part of an opaque resource
- ``execute(instance, resource)``, ``create()``, which returns the new id, ``delete(instance)``
"""

import coap
from coap import RequestError

_ROOT = '</>;rt="oma.lwm2m";ct=112'


class Fixed:
    """An object of one instance, whose values the function `read(instance)` computes."""

    def __init__(self, read):
        self.read = read


class Tree:
    """All objects of the device by id. `version` grows when instances come or go."""

    def __init__(self):
        self.objects = {}
        self.version = 0

    def links(self):
        """The object list of a registration (RFC 6690, LwM2M 1.1 section 6.2.1)."""
        parts = [_ROOT]
        for number in sorted(self.objects):
            ids = _instances(self.objects[number])
            for instance in ids:
                parts.append("</%d/%d>" % (number, instance))
            if not ids:
                parts.append("</%d>" % number)
        return ",".join(parts)

    def find(self, path):
        """The object that `path` (a tuple of ids) leads into; 4.04 when it or the instance is not there."""
        found = self.objects.get(path[0]) if path else None
        if found is None or (len(path) > 1 and path[1] not in _instances(found)):
            raise RequestError(coap.NOT_FOUND)
        return found

    def operation(self, path, name):
        """The object's operation `name`; 4.05 when it has none."""
        found = getattr(self.find(path), name, None)
        if found is None:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        return found

    def records(self, path):
        """What `path` holds: ``(base, [(name, value)])`` as SenML names it; 4.04 when it holds nothing."""
        found = self.find(path)
        records = []
        if len(path) == 1:
            for instance in _instances(found):
                _flatten(records, "%d/" % instance, found.read(instance))
            return "/%d/" % path[0], records
        values = found.read(path[1])
        if len(path) > 2:
            values = [item for item in values if item[0] == path[2]]
            if not values and hasattr(found, "read_apart"):
                values = [(path[2], found.read_apart(path[1], path[2]))]
            if not values or values[0][1] is None:
                raise RequestError(coap.NOT_FOUND)
        _flatten(records, "", values)
        return "/%d/%d/" % path[:2], records


def _instances(found):
    return found.instances() if hasattr(found, "instances") else (0,)


def _flatten(records, prefix, values):
    for resource, value in values:
        if isinstance(value, list):
            for index, item in enumerate(value):
                records.append(("%s%d/%d" % (prefix, resource, index), item))
        else:
            records.append(("%s%d" % (prefix, resource), value))
