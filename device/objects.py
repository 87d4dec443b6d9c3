"""The tree of LwM2M objects: paths to values, writes, executions; and the link format of registrations.

An object is any `ObjectBase`. Values are computed when they are read; nothing is stored twice.
"""

import coap
from coap import RequestError
from micropython import const

_ROOT = '</>;rt="oma.lwm2m";ct=112'


class ObjectBase:
    """An LwM2M object with the single instance 0 that can only be read.

    `read` returns a list of ``(resource, value)`` in the order of the resources; a resource with several
    instances has a list of its values. What an object does not override is answered 4.05.
    """

    def instances(self):
        """The ids of the instances, in order."""
        return (0,)

    def read(self, instance):
        raise RequestError(coap.METHOD_NOT_ALLOWED)

    def read_apart(self, instance, resource):
        """The value of a resource that only a read of itself shows, None without one."""
        return None

    def write(self, instance, resource, payload):
        """Replace one resource by its text form."""
        raise RequestError(coap.METHOD_NOT_ALLOWED, "not writable")

    def write_block(self, instance, resource, offset, data, more):
        """Take a part of an opaque resource; `more` when others follow."""
        raise RequestError(coap.UNSUPPORTED_FORMAT, "opaque content is for 9/x/2 only")

    def execute(self, instance, resource):
        raise RequestError(coap.METHOD_NOT_ALLOWED, "not executable")

    def create(self):
        """Add an instance and return its id."""
        raise RequestError(coap.METHOD_NOT_ALLOWED, "instances are not created here")

    def delete(self, instance):
        raise RequestError(coap.METHOD_NOT_ALLOWED, "instances are not deleted here")


class Fixed(ObjectBase):
    """One instance whose values `values()` computes."""

    def __init__(self, values):
        self._values = values

    def read(self, instance):
        return self._values()


class Tree:
    """All objects of the device by id. `version` grows when instances come or go."""

    def __init__(self):
        self.objects = {}
        self.version = 0

    def links(self):
        """The object list of a registration (RFC 6690, LwM2M 1.1 section 6.2.1)."""
        parts = [_ROOT]
        for number in sorted(self.objects):
            ids = self.objects[number].instances()
            for instance in ids:
                parts.append("</%d/%d>" % (number, instance))
            if not ids:
                parts.append("</%d>" % number)
        return ",".join(parts)

    def find(self, path):
        """The object that `path` (a tuple of ids) leads into; 4.04 when it or the instance is not there."""
        found = self.objects.get(path[0]) if path else None
        if found is None or (len(path) > 1 and path[1] not in found.instances()):
            raise RequestError(coap.NOT_FOUND)
        return found

    def records(self, path):
        """What `path` holds: ``(base, [(name, value)])`` as SenML names it; 4.04 when it holds nothing."""
        found = self.find(path)
        records = []
        if len(path) == 1:
            for instance in found.instances():
                _flatten(records, "%d/" % instance, found.read(instance))
            return "/%d/" % path[0], records
        values = found.read(path[1])
        if len(path) > 2:
            values = [item for item in values if item[0] == path[2]]
            apart = found.read_apart(path[1], path[2]) if not values else None
            if apart is not None:
                values.append((path[2], apart))
            if not values:
                raise RequestError(coap.NOT_FOUND)
        _flatten(records, "", values)
        return "/%d/%d/" % path[:2], records


def _flatten(records, prefix, values):
    for resource, value in values:
        if isinstance(value, list):
            for index, item in enumerate(value):
                records.append(("%s%d/%d" % (prefix, resource, index), item))
        else:
            records.append(("%s%d" % (prefix, resource), value))
