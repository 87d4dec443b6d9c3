"""IPSO smart objects: sensors, set points and what services put out."""

from __future__ import annotations

from fita.lwm2m.objects.declaration import Access, Executable, ObjectInstance, Resource
from fita.lwm2m.value import FLOAT, STRING, TIME

FIRST_IPSO_OBJECT = 3200
LAST_IPSO_OBJECT = 3499


def is_ipso(object_id: int) -> bool:
    """Whether the id is in the range that OMA gave to IPSO's objects."""
    return FIRST_IPSO_OBJECT <= object_id <= LAST_IPSO_OBJECT


class Sensor(ObjectInstance, name="IPSO Sensor"):
    """What all sensors share: a value, its unit, its purpose. Stands in for IPSO objects that nobody declared."""

    minimum_measured = Resource(5601, "Min Measured Value", FLOAT)
    maximum_measured = Resource(5602, "Max Measured Value", FLOAT)
    minimum_range = Resource(5603, "Min Range Value", FLOAT)
    maximum_range = Resource(5604, "Max Range Value", FLOAT)
    reset_extremes = Executable(5605, "Reset Min and Max Measured Values")
    value = Resource(5700, "Sensor Value", FLOAT)
    unit = Resource(5701, "Sensor Units", STRING)
    application_type = Resource(5750, "Application Type", STRING, Access.RW)
    timestamp = Resource(5518, "Timestamp", TIME)


class GenericSensor(Sensor, object_id=3300, name="Generic Sensor"):
    """Where outputs go whose manifest names no object."""


class Illuminance(Sensor, object_id=3301, name="Illuminance"):
    """Brightness."""


class Temperature(Sensor, object_id=3303, name="Temperature"):
    """Temperature."""


class Humidity(Sensor, object_id=3304, name="Humidity"):
    """Relative humidity."""


class SetPoint(ObjectInstance, object_id=3308, name="Set Point"):
    """Where inputs go whose manifest names no object."""

    set_point = Resource(5900, "Set Point Value", FLOAT, Access.RW)
    unit = Resource(5701, "Sensor Units", STRING)
    application_type = Resource(5750, "Application Type", STRING, Access.RW)


class Accelerometer(ObjectInstance, object_id=3313, name="Accelerometer"):
    """Acceleration in three axes."""

    x_value = Resource(5702, "X Value", FLOAT)
    y_value = Resource(5703, "Y Value", FLOAT)
    z_value = Resource(5704, "Z Value", FLOAT)
    unit = Resource(5701, "Sensor Units", STRING)
    application_type = Resource(5750, "Application Type", STRING, Access.RW)
