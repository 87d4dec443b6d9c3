"""What this device can take: platform, memory, flash, services at once.

Object 35010 says it to the gateway, and packages are held against it.
"""

import gc

from board import mpy_version, platform
from micropython import const
from package import OUT_OF_MEMORY, REFUSED, STORAGE_FULL, UNSUPPORTED, PackageError

API_VERSION = const(1)
RUNTIME_VERSION = "0.1.0"

_MPY = const(0x4D)
_DEFAULT_QUOTA = const(12288)
_RESERVE = const(12288)  # of the heap, for requests, packages and blocks under way
_RECORD_BYTES = const(2560)  # of flash, for what is known of a service


class Limits:
    def __init__(self, board, store, host):
        self._board = board
        self._store = store
        self._host = host
        self.platform = platform()

    def seal(self):
        """Take what the runtime uses now, before any service, as its own need for ever."""
        gc.collect()
        self._host.memory_total = max(gc.mem_free() - _RESERVE, 0)

    def quota(self, header):
        """The bytes of memory that a service may hold."""
        return header["mem"] or _DEFAULT_QUOTA

    def check(self, header, instance, others):
        """PackageError unless a package with that header can be installed as `instance`.

        `others` is the number of the other installed services.
        """
        wanted = header["platform"].split("/")
        own = self.platform.split("/")
        if len(wanted) != 3 or wanted[0] != own[0] or wanted[1] not in ("any", own[1]) or wanted[2] != own[2]:
            raise PackageError(UNSUPPORTED, "built for %s, this is %s" % (header["platform"], self.platform))
        if header["api"] > API_VERSION:
            raise PackageError(
                REFUSED, "needs service API %d, this device has %d" % (header["api"], API_VERSION)
            )
        if others >= self._board.max_services:
            raise PackageError(REFUSED, "too many services: at most %d" % self._board.max_services)
        quota = self.quota(header)
        free = self._host.memory_free(instance)
        if quota > free:
            raise PackageError(OUT_OF_MEMORY, "needs %d bytes of memory, %d are free" % (quota, free))
        size = header["size"] + _RECORD_BYTES
        if size > self._store.free():
            raise PackageError(
                STORAGE_FULL, "needs %d bytes of flash, %d are free" % (size, self._store.free())
            )

    def check_code(self, head):
        """PackageError unless `head` begins a `.mpy` file that this port loads."""
        version, number = mpy_version()
        architecture = head[2] >> 2 & 15
        if head[0] != _MPY or head[1] != version or architecture not in (0, number):
            raise PackageError(UNSUPPORTED, "the code is not for %s" % self.platform)

    def values(self):
        """Object 35010."""
        return [
            (27500, self.platform),
            (27501, API_VERSION),
            (27502, self._host.memory_total),
            (27503, self._host.memory_free()),
            (27504, self._store.capacity),
            (27505, self._store.free()),
            (27506, self._board.max_services),
            (27507, RUNTIME_VERSION),
        ]
