"""Software management (object 9) and the monitoring of software (object 35003)."""

from __future__ import annotations

from enum import IntEnum

from fita.lwm2m.objects.declaration import Access, Executable, ObjectInstance, Resource
from fita.lwm2m.value import BOOLEAN, FLOAT, INTEGER, OBJECT_LINK, OPAQUE, STRING, UNSIGNED


class UpdateState(IntEnum):
    """Resource 9/x/7."""

    INITIAL = 0
    DOWNLOAD_STARTED = 1
    DOWNLOADED = 2
    DELIVERED = 3
    INSTALLED = 4


class UpdateResult(IntEnum):
    """Resource 9/x/9; from 50 on it is a failure."""

    INITIAL = 0
    DOWNLOADING = 1
    INSTALLED = 2
    VERIFIED = 3
    NOT_ENOUGH_STORAGE = 50
    OUT_OF_MEMORY = 51
    CONNECTION_LOST = 52
    INTEGRITY_CHECK_FAILED = 53
    UNSUPPORTED_PACKAGE_TYPE = 54
    INVALID_URI = 56
    DEVICE_DEFINED = 57
    INSTALLATION_FAILED = 58
    UNINSTALLATION_FAILED = 59


FIRST_FAILURE = 50


class SoftwareManagement(ObjectInstance, object_id=9, name="LWM2M Software Management"):
    """OMA object 9, version 1.0, with the resources from 27510 on that are ours."""

    package_name = Resource(0, "PkgName", STRING)
    package_version = Resource(1, "PkgVersion", STRING)
    package = Resource(2, "Package", OPAQUE, Access.W)
    package_uri = Resource(3, "Package URI", STRING, Access.W)
    install = Executable(4, "Install")
    checkpoint = Resource(5, "Checkpoint", OBJECT_LINK)
    uninstall = Executable(6, "Uninstall")
    update_state = Resource(7, "Update State", INTEGER)
    update_supported_objects = Resource(8, "Update Supported Objects", BOOLEAN, Access.RW)
    update_result = Resource(9, "Update Result", INTEGER)
    activate = Executable(10, "Activate")
    deactivate = Executable(11, "Deactivate")
    activation_state = Resource(12, "Activation State", BOOLEAN)
    workload = Resource(27510, "Workload", STRING)
    digest = Resource(27511, "Digest", STRING)
    phase = Resource(27512, "Phase", STRING)
    restart_count = Resource(27513, "Restart Count", UNSIGNED)
    last_error = Resource(27514, "Last Error", STRING)


class SoftwareMonitoring(ObjectInstance, object_id=35003, name="Software Package Monitoring"):
    """FITA's object 35003: what one service (link to 9/x) or the whole device (3/0) uses."""

    link = Resource(27400, "Software Package", OBJECT_LINK)
    cpu_percent = Resource(27401, "CPU Usage", FLOAT)
    memory_bytes = Resource(27402, "Memory Usage", UNSIGNED)
    uptime_s = Resource(27403, "Uptime", UNSIGNED)
    error = Resource(27404, "Error", STRING)
