"""Objects that every device has: server, device, connectivity, capabilities."""

from __future__ import annotations

from fita.lwm2m.objects.declaration import Access, Executable, MultipleResource, ObjectInstance, Resource
from fita.lwm2m.value import BOOLEAN, INTEGER, STRING, TIME, UNSIGNED


class Server(ObjectInstance, object_id=1, name="LwM2M Server"):
    """What the device knows of its server (OMA object 1, version 1.1)."""

    short_server_id = Resource(0, "Short Server ID", INTEGER)
    lifetime_s = Resource(1, "Lifetime", INTEGER, Access.RW)
    notification_storing = Resource(6, "Notification Storing When Disabled or Offline", BOOLEAN, Access.RW)
    binding = Resource(7, "Binding", STRING, Access.RW)
    registration_update = Executable(8, "Registration Update Trigger")


class Device(ObjectInstance, object_id=3, name="Device"):
    """OMA object 3, version 1.1. Memory is in kB of 1024 bytes."""

    manufacturer = Resource(0, "Manufacturer", STRING)
    model = Resource(1, "Model Number", STRING)
    serial_number = Resource(2, "Serial Number", STRING)
    firmware_version = Resource(3, "Firmware Version", STRING)
    reboot = Executable(4, "Reboot")
    factory_reset = Executable(5, "Factory Reset")
    power_sources = MultipleResource(6, "Available Power Sources", INTEGER)
    voltages_mv = MultipleResource(7, "Power Source Voltage", INTEGER)
    currents_ma = MultipleResource(8, "Power Source Current", INTEGER)
    battery_level = Resource(9, "Battery Level", INTEGER)
    memory_free_kb = Resource(10, "Memory Free", INTEGER)
    error_code = MultipleResource(11, "Error Code", INTEGER)
    reset_error_code = Executable(12, "Reset Error Code")
    current_time = Resource(13, "Current Time", TIME, Access.RW)
    utc_offset = Resource(14, "UTC Offset", STRING, Access.RW)
    timezone = Resource(15, "Timezone", STRING, Access.RW)
    binding = Resource(16, "Supported Binding and Modes", STRING)
    device_type = Resource(17, "Device Type", STRING)
    hardware_version = Resource(18, "Hardware Version", STRING)
    software_version = Resource(19, "Software Version", STRING)
    battery_status = Resource(20, "Battery Status", INTEGER)
    memory_total_kb = Resource(21, "Memory Total", INTEGER)


class ConnectivityMonitoring(ObjectInstance, object_id=4, name="Connectivity Monitoring"):
    """OMA object 4, version 1.1. Signal strength is in dBm."""

    bearer = Resource(0, "Network Bearer", INTEGER)
    available_bearers = MultipleResource(1, "Available Network Bearer", INTEGER)
    signal_strength = Resource(2, "Radio Signal Strength", INTEGER)
    link_quality = Resource(3, "Link Quality", INTEGER)
    ip_addresses = MultipleResource(4, "IP Addresses", STRING)
    router_addresses = MultipleResource(5, "Router IP Addresses", STRING)
    link_utilization = Resource(6, "Link Utilization", INTEGER)


class DeviceCapability(ObjectInstance, object_id=15, name="DevCapMgmt"):
    """OMA object 15: capabilities of one group, joined by ``;``. Group 0 is sensors and actuators."""

    property_ = Resource(0, "Property", STRING)
    group = Resource(1, "Group", INTEGER)
    description = Resource(2, "Description", STRING)
    attached = Resource(3, "Attached", BOOLEAN)
    enabled = Resource(4, "Enabled", BOOLEAN)
    op_enable = Executable(5, "opEnable")
    op_disable = Executable(6, "opDisable")
    notify_enabled = Resource(7, "NotifyEn", BOOLEAN, Access.RW)


class DataRoute(ObjectInstance, object_id=35001, name="Data Route"):
    """FITA's object 35001: values go from one URI to the other without the gateway."""

    origin_uri = Resource(27200, "Origin URI", STRING, Access.RW)
    destination_uri = Resource(27201, "Destination URI", STRING, Access.RW)


class ServiceRuntime(ObjectInstance, object_id=35010, name="Service Runtime"):
    """Our object 35010: what the runtime offers to services. Sizes are in bytes."""

    platform = Resource(27500, "Platform", STRING)
    api_version = Resource(27501, "Service API Version", UNSIGNED)
    memory_total = Resource(27502, "Service Memory Total", UNSIGNED)
    memory_free = Resource(27503, "Service Memory Free", UNSIGNED)
    storage_total = Resource(27504, "Service Storage Total", UNSIGNED)
    storage_free = Resource(27505, "Service Storage Free", UNSIGNED)
    max_services = Resource(27506, "Most Services", UNSIGNED)
    runtime_version = Resource(27507, "Runtime Version", STRING)
