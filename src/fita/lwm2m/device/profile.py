"""What a device says of itself, as `DeviceProfile` and `DeviceStats`. Pure but for the reads."""

from __future__ import annotations

import msgspec
import structlog

from fita.base.errors import ConfigurationError
from fita.coap.errors import ResponseError
from fita.coap.interfaces import Peer
from fita.lwm2m.codec.content import Values
from fita.lwm2m.device.operation import DeviceClient
from fita.lwm2m.errors import Lwm2mError
from fita.lwm2m.objects.core import Device, DeviceCapability, ServiceRuntime
from fita.lwm2m.objects.software import SoftwareMonitoring
from fita.lwm2m.path import Path
from fita.lwm2m.registration import ObjectList, Registration
from fita.lwm2m.value import ObjectLink
from fita.model.device import DEFAULT_MAX_SERVICES, DEFAULT_MEMORY_BYTES, DeviceProfile, DeviceStats
from fita.model.platform import Platform, parse_platform

log = structlog.get_logger(__name__)

PROFILE_OBJECTS = (Device.object_id, DeviceCapability.object_id, ServiceRuntime.object_id)
STATS_OBJECTS = (Device.object_id, ServiceRuntime.object_id, SoftwareMonitoring.object_id)

DEFAULT_PLATFORM = Platform("zephyr", "arm", "v7")
SENSORS_AND_ACTUATORS = 0
"""The group of object 15 whose property lists capabilities."""
WHOLE_DEVICE = ObjectLink(3, 0)


async def read_objects(client: DeviceClient, objects: ObjectList, wanted: tuple[int, ...]) -> Values:
    """Everything the device has of `wanted`, one request for each object.

    An object that the device refuses or garbles counts as missing: the rest still describes it. Raises what
    `DeviceClient.read` raises when the device does not answer.
    """
    values: Values = {}
    for object_id in wanted:
        if objects.has_instances(object_id):
            try:
                values |= await client.read(Path(object_id))
            except (ResponseError, Lwm2mError) as error:
                log.warning("object unreadable", peer=client.peer, object=object_id, why=str(error))
    return values


def device_profile(registration: Registration, values: Values) -> DeviceProfile:
    """The profile from objects 3, 15 and 35010; what is missing there has FITA's defaults."""
    device = Device.first_from(values)
    runtime = ServiceRuntime.first_from(values)
    memory_bytes = (device.memory_total_kb or 0) * 1024 or DEFAULT_MEMORY_BYTES
    service_memory_bytes = runtime.memory_total
    return DeviceProfile(
        endpoint=registration.endpoint,
        address=address_text(registration.peer),
        platform=_platform(runtime),
        api_version=1 if runtime.api_version is None else runtime.api_version,
        manufacturer=device.manufacturer or "",
        model=device.model or "",
        serial_number=device.serial_number or "",
        firmware_version=device.firmware_version or "",
        runtime_version=runtime.runtime_version or device.software_version or "",
        memory_bytes=memory_bytes,
        service_memory_bytes=memory_bytes if service_memory_bytes is None else service_memory_bytes,
        storage_bytes=runtime.storage_total or 0,
        max_services=DEFAULT_MAX_SERVICES if runtime.max_services is None else runtime.max_services,
        capabilities=_capabilities(values),
        battery_percent=_percent(device.battery_level),
        queue_mode=registration.queue_mode,
        lifetime_s=registration.lifetime_s,
        registered_at=registration.registered_at,
    )


def device_stats(values: Values) -> DeviceStats:
    """What the device uses now, from objects 3, 35010 and the instance of 35003 for the whole device.

    Free memory is what services can still get (35010), or what the device has free (3) where it does not say.
    """
    device = Device.first_from(values)
    runtime = ServiceRuntime.first_from(values)
    whole = next((item for item in monitorings(values) if item.link == WHOLE_DEVICE), None)
    memory_free = runtime.memory_free
    if memory_free is None and device.memory_free_kb is not None:
        memory_free = device.memory_free_kb * 1024
    return DeviceStats(
        memory_free_bytes=memory_free,
        storage_free_bytes=runtime.storage_free,
        cpu_percent=None if whole is None else whole.cpu_percent,
        uptime_s=None if whole is None else whole.uptime_s,
        battery_percent=_percent(device.battery_level),
    )


def monitorings(values: Values) -> list[SoftwareMonitoring]:
    """Every instance of object 35003."""
    return list(SoftwareMonitoring.all_from(values).values())


def address_text(peer: Peer) -> str:
    """``host:port``, IPv6 in brackets."""
    host, port = peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_registration(profile: DeviceProfile, registration: Registration) -> DeviceProfile:
    """`profile` with what an update of the registration may have changed."""
    changed = {
        "address": address_text(registration.peer),
        "lifetime_s": registration.lifetime_s,
        "queue_mode": registration.queue_mode,
    }
    return msgspec.structs.replace(profile, **changed)


def _platform(runtime: ServiceRuntime) -> Platform:
    if not runtime.platform:
        return DEFAULT_PLATFORM
    try:
        return parse_platform(runtime.platform)
    except ConfigurationError:
        return DEFAULT_PLATFORM


def _capabilities(values: Values) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for instance in DeviceCapability.all_from(values).values():
        if instance.group in (None, SENSORS_AND_ACTUATORS) and instance.property_:
            found.update(dict.fromkeys(part.strip() for part in instance.property_.split(";") if part.strip()))
    return tuple(found)


def _percent(level: int | None) -> int | None:
    return level if level is not None and 0 <= level <= 100 else None
