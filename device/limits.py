"""What this device can take: platform, memory, flash, services at once.

Object 35010 says it to the gateway, and packages are held against it.
"""

import gc
import sys

from micropython import const
from result import OUT_OF_MEMORY, REFUSED, STORAGE_FULL, UNSUPPORTED, PackageError

RUNTIME_VERSION = "0.1.0"

_API_VERSION = const(1)
_MPY = const(0x4D)
_DEFAULT_QUOTA = const(12288)
_RESERVE = const(10240)  # of the heap, for requests and for packages that come
_OVERHEAD = const(2048)  # of the heap, what the runtime needs for a service besides the service's own
_RECORD_BYTES = const(2560)  # of flash, for what is known of a service
_SHORTAGE = "needs %d bytes of %s, %d are free"


class Limits:
    """Held against the `settings` of the board, what is free in `store` and what `host` has promised."""

    def __init__(self, settings, store, host):
        self._settings = settings
        self._store = store
        self._host = host

    def seal(self):
        """Take what the runtime uses now, before any service, as its own need for ever."""
        gc.collect()
        kept = _RESERVE + _OVERHEAD * self._settings["max_services"]
        self._host.memory_total = max(gc.mem_free() - kept, 0)

    def quota(self, header):
        """The bytes of memory that a service may hold."""
        return header["mem"] or _DEFAULT_QUOTA

    def check(self, header, instance, others):
        """PackageError unless a package with that header can be installed as `instance`.

        `others` is the number of the other installed services.
        """
        platform = self._settings["platform"]
        most = self._settings["max_services"]
        wanted = header["platform"].split("/")
        own = platform.split("/")
        if len(wanted) != 3 or wanted[0] != own[0] or wanted[1] not in ("any", own[1]) or wanted[2] != own[2]:
            raise PackageError(UNSUPPORTED, "built for %s, this is %s" % (header["platform"], platform))
        if header["api"] > _API_VERSION:
            raise PackageError(REFUSED, "needs service API %d, not %d" % (header["api"], _API_VERSION))
        if others >= most:
            raise PackageError(REFUSED, "too many services: at most %d" % most)
        quota = self.quota(header)
        free = self._host.memory_free(instance)
        if quota > free:
            raise PackageError(OUT_OF_MEMORY, _SHORTAGE % (quota, "memory", free))
        size = header["size"] + _RECORD_BYTES
        free = self._store.free()
        if size > free:
            raise PackageError(STORAGE_FULL, _SHORTAGE % (size, "flash", free))

    def check_code(self, head):
        """PackageError unless `head` begins a `.mpy` file that this port loads."""
        own = getattr(sys.implementation, "_mpy", 6)
        architecture = head[2] >> 2 & 15
        if head[0] != _MPY or head[1] != own & 255 or architecture not in (0, own >> 10 & 15):
            raise PackageError(UNSUPPORTED, "the code is not for this device")

    def read(self, instance):
        """Object 35010."""
        return [
            (27500, self._settings["platform"]),
            (27501, _API_VERSION),
            (27502, self._host.memory_total),
            (27503, self._host.memory_free()),
            (27504, self._store.capacity),
            (27505, self._store.free()),
            (27506, self._settings["max_services"]),
            (27507, RUNTIME_VERSION),
        ]
