"""Which class declares which object, and which type a path has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fita.lwm2m.objects import core, ipso, software
from fita.lwm2m.objects.declaration import ObjectInstance
from fita.lwm2m.path import Path
from fita.lwm2m.value import DataType, Value

OBJECTS: Mapping[int, type[ObjectInstance]] = MappingProxyType(
    {
        declared.object_id: declared
        for declared in (
            core.Server,
            core.Device,
            core.ConnectivityMonitoring,
            core.DeviceCapability,
            core.DataRoute,
            core.ServiceRuntime,
            software.SoftwareManagement,
            software.SoftwareMonitoring,
            ipso.GenericSensor,
            ipso.Illuminance,
            ipso.Temperature,
            ipso.Humidity,
            ipso.SetPoint,
            ipso.Accelerometer,
        )
    }
)


def object_class(object_id: int) -> type[ObjectInstance] | None:
    """The declaration of an object; every IPSO object without one is a `Sensor`; None for all others."""
    declared = OBJECTS.get(object_id)
    return ipso.Sensor if declared is None and ipso.is_ipso(object_id) else declared


def data_type_of(path: Path) -> DataType[Value] | None:
    """The type of a resource; None if it has none or nobody declared it."""
    declared = object_class(path.object_id)
    if declared is None or path.resource_id is None:
        return None
    resource = declared.resources.get(path.resource_id)
    return None if resource is None else resource.data_type
