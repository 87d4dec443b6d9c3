"""Outputs of services: IPSO instances whose application type is ``<object 9 instance>/<key>``.

Whole instances are observed, not their value alone: each notification then says by itself whose value it is, and
an output may appear before it has its first value. Source: docs/device-protocol.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fita.base.clock import Clock
from fita.lwm2m.codec.content import Values
from fita.lwm2m.device.observer import Observer
from fita.lwm2m.device.operation import DeviceClient
from fita.lwm2m.device.profile import read_objects
from fita.lwm2m.objects.ipso import Sensor, SetPoint, is_ipso
from fita.lwm2m.path import Path
from fita.lwm2m.registration import ObjectList
from fita.lwm2m.service.table import ServiceTable
from fita.model.device import Endpoint
from fita.model.runtime import OutputValue

_APPLICATION_TYPE = re.compile(r"(\d{1,5})/([^/]{1,64})", re.ASCII)
_VALUE = Sensor.value.id
_SET_POINT = SetPoint.set_point.id
# What an IPSO instance says besides its value.
_DESCRIPTIVE = frozenset({*Sensor.resources, *SetPoint.resources} - {_VALUE})


class _Port(NamedTuple):
    """Whose output an IPSO instance is."""

    instance: int
    key: str


class OutputWatcher:
    """Observes the outputs of one device and passes their values to `on_output`."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: DeviceClient,
        observer: Observer,
        services: ServiceTable,
        *,
        on_output: Callable[[OutputValue], None],
        on_end: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._observer = observer
        self._services = services
        self._on_output = on_output
        self._on_end = on_end
        self._clock = clock
        self._watched: dict[Path, _Port] = {}

    async def refresh(self, objects: ObjectList) -> None:
        """Observe every output there is, and none that is gone. Raises what operations raise without an answer."""
        ipso = tuple(object_id for object_id in objects.instances if is_ipso(object_id))
        found = _outputs(await read_objects(self._client, objects, ipso))
        for path, port in list(self._watched.items()):
            if found.get(path) != port:
                del self._watched[path]
                self._observer.unwatch(path)
        for path, port in found.items():
            if path not in self._observer:
                self._watched[path] = port
                await self._observer.watch(path, partial(self._heard, path), partial(self._ended, path))

    def _heard(self, path: Path, values: Values) -> None:
        instance = _instances(values).get(path)
        port = None if instance is None else _port(instance)
        if instance is None or port is None or port.instance not in self._services:
            return
        value = _value(instance)
        if value is None:
            return
        service = self._services.status(port.instance)
        self._on_output(
            OutputValue(
                endpoint=self._endpoint,
                workload=service.workload,
                service=service.name,
                key=port.key,
                value=value,
                unit=instance.unit or "",
                received_at=self._clock(),
            )
        )

    def _ended(self, path: Path) -> None:
        self._watched.pop(path, None)
        self._on_end()


def _instances(values: Values) -> dict[Path, Sensor]:
    return {
        Path(object_id, instance_id): instance
        for object_id in {path.object_id for path in values}
        for instance_id, instance in Sensor.all_from(values, object_id).items()
    }


def _outputs(values: Values) -> dict[Path, _Port]:
    return {path: port for path, instance in _instances(values).items() if (port := _port(instance)) is not None}


def _port(instance: Sensor) -> _Port | None:
    """None for a sensor of the board (its application type is a capability) and for an input."""
    match = _APPLICATION_TYPE.fullmatch(instance.application_type or "")
    if match is None or (_SET_POINT, None) in instance.values:
        return None
    return _Port(int(match[1]), match[2])


def _value(instance: Sensor) -> int | float | None:
    """The number that an output has now: resource 5700, else the one resource that is no description."""
    for resource in (_VALUE, *sorted({resource for resource, _ in instance.values} - _DESCRIPTIVE)):
        value = instance.values.get((resource, None))
        if isinstance(value, int | float):
            return int(value) if isinstance(value, bool) else value
    return None
