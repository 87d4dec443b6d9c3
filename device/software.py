"""Object 9, Software Management, as the gateway sees it (docs/device-protocol.md); the work is the installer's."""

import coap
from coap import RequestError
from installer import Entry
from micropython import const
from runner import INSTALLING, STOPPED

_FIRST_INSTANCE = const(1000)
_INSTANCES = const(32)  # ids go round in a small circle, because module names made of them are never freed
_SPARE = const(3)  # instances besides those of installed services


class Software:
    """`changed(path)` is told of an instance that was deleted."""

    def __init__(self, tree, installer, host, changed):
        self._tree = tree
        self._installer = installer
        self._host = host
        self._changed = changed
        self._last = _FIRST_INSTANCE - 1
        self._operations = {
            4: installer.install,
            6: installer.uninstall,
            10: installer.activate,
            11: installer.deactivate,
        }

    def instances(self):
        return sorted(self._installer.entries)

    def read(self, instance):
        entry = self._installer.entries[instance]
        runner = self._host.runners.get(instance)
        shown = entry.record or entry.update
        header = shown["header"] if shown else {}
        values = []
        if header:
            values.append((0, header["name"]))
            values.append((1, str(header["version"])))
        values.append((7, entry.state))
        values.append((9, entry.result))
        values.append((12, bool(entry.record and entry.record["active"])))
        values.append((27510, header.get("id", "")))
        values.append((27511, header.get("digest", "")))
        if runner is not None:
            phase = runner.phase
        else:
            phase = STOPPED if entry.record else INSTALLING
        values.append((27512, phase))
        values.append((27513, runner.restarts if runner is not None else 0))
        values.append((27514, runner.error if runner is not None and runner.error else entry.error))
        return values

    def read_apart(self, instance, resource):
        runner = self._host.runners.get(instance)
        if resource != 27515:
            return None
        return runner.log.text() if runner is not None else self._installer.entries[instance].log

    def create(self):
        entries = self._installer.entries
        if len([entry for entry in entries.values() if entry.record is None]) >= _SPARE:
            raise RequestError(coap.UNAVAILABLE, "too many empty instances")
        instance = self._last
        while True:
            instance = _FIRST_INSTANCE + (instance + 1 - _FIRST_INSTANCE) % _INSTANCES
            if instance not in entries:
                break
        entries[instance] = Entry()
        self._last = instance
        self._tree.version += 1
        return instance

    def delete(self, instance):
        self._installer.uninstall(instance)
        del self._installer.entries[instance]
        self._tree.version += 1
        self._changed((9, instance))

    def write_block(self, instance, resource, offset, data, more):
        if resource != 2:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        self._installer.receive(instance, offset, data, more)

    def execute(self, instance, resource):
        operation = self._operations.get(resource)
        if operation is None:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        operation(instance)
