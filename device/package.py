"""The package of a service (docs/device-protocol.md, "Package"), parsed as it arrives.

Keeps the header and never the code in RAM. Trusts nothing before the SHA-256 has been seen; writes no file.
"""

import json
import struct
from binascii import hexlify
from hashlib import sha256

from micropython import const
from result import INTEGRITY_FAILED, UNSUPPORTED, PackageError

_MAGIC = b"FSP"
_VERSION = const(1)
_MAX_HEADER = const(2048)
_PREFIX = const(6)
_DIGEST = const(32)

_STRINGS = ("id", "digest", "name", "platform")
_NUMBERS = ("version", "api", "mem", "size")


class PackageReader:
    """Takes a package in parts of any size.

    `accept(header)` is called once with the parsed header and may raise PackageError; `write(part)` takes
    the code.
    """

    def __init__(self, accept, write):
        self._accept = accept
        self._write = write
        self._whole = sha256()
        self._code = sha256()
        self._buffer = bytearray()  # the header until it is complete, then the digest
        self._missing = -1  # bytes of code still to come, -1 before the header is complete
        self.header = None

    def feed(self, data):
        """Take the next part; PackageError when the package cannot be accepted any more."""
        if self._missing < 0:
            data = self._feed_header(data)
        code = data[: self._missing] if self._missing > 0 else b""
        if code:
            self._whole.update(code)
            self._code.update(code)
            self._write(code)
            self._missing -= len(code)
        if not self._missing and len(data) > len(code):
            self._buffer.extend(data[len(code) :])
            if len(self._buffer) > _DIGEST:
                raise PackageError(INTEGRITY_FAILED, "package too long")

    def finish(self):
        """The SHA-256 of the code in hex; PackageError unless the whole package came undamaged."""
        if self._missing or len(self._buffer) != _DIGEST:
            raise PackageError(INTEGRITY_FAILED, "package too short")
        if self._whole.digest() != bytes(self._buffer):
            raise PackageError(INTEGRITY_FAILED, "package damaged: wrong SHA-256")
        return str(hexlify(self._code.digest()), "ascii")

    def _feed_header(self, data):
        """Collect the header; the part of `data` behind it."""
        buffer = self._buffer
        start = len(buffer)
        buffer.extend(data)
        if buffer[:3] != _MAGIC[: len(buffer)]:
            raise PackageError(UNSUPPORTED, "not a service package")
        if len(buffer) < _PREFIX:
            return b""
        version, length = struct.unpack(">BH", buffer[3:_PREFIX])
        if version != _VERSION:
            raise PackageError(UNSUPPORTED, "package format %d, not %d" % (version, _VERSION))
        if length > _MAX_HEADER:
            raise PackageError(UNSUPPORTED, "header: %d bytes of %d" % (length, _MAX_HEADER))
        end = _PREFIX + length
        if len(buffer) < end:
            return b""
        header = _parse(buffer[_PREFIX:end])
        self._accept(header)
        self.header = header
        self._whole.update(buffer[:end])
        self._buffer = bytearray()
        self._missing = header["size"]
        return data[end - start :]


def _parse(data):
    try:
        header = json.loads(str(data, "utf-8"))
    except ValueError:
        raise PackageError(INTEGRITY_FAILED, "header: not JSON")
    if not isinstance(header, dict):
        raise PackageError(UNSUPPORTED, "header: not an object")
    wrong = _wrong_field(header)
    if wrong:
        raise PackageError(UNSUPPORTED, "header: bad %s" % wrong)
    return header


def _wrong_field(header):
    for name in _STRINGS:
        if not isinstance(header.get(name), str):
            return name
    for name in _NUMBERS:
        value = header.get(name)
        if not isinstance(value, int) or value < 0:
            return name
    if not isinstance(header.setdefault("env", {}), dict):
        return "env"
    for name in ("in", "out"):
        if not _are_ports(header.setdefault(name, [])):
            return name
    return None


def _are_ports(ports):
    if not isinstance(ports, list):
        return False
    for port in ports:
        if not isinstance(port, list) or len(port) != 4 or port[1] not in (0, 1):
            return False
        if not all(isinstance(port[index], str) for index in (0, 2, 3)):
            return False
    return True
