"""Packages to install. Works on CPython and MicroPython."""

import json
import struct
from hashlib import sha256

CODE = b"M\x06\x00\x1f" + b"code" * 100


def header(**changes):
    found = {
        "id": "uid/average",
        "digest": "sha256:00",
        "name": "average",
        "version": 1,
        "api": 1,
        "platform": "micropython/any/v6",
        "in": [["threshold", 1, "", "Cel"]],
        "out": [["average", 1, "lwm2m:3303/x/5700", "Cel"]],
        "env": {"WINDOW": "10"},
        "mem": 4096,
        "size": len(CODE),
    }
    found.update(changes)
    return found


def package(code=CODE, format_version=1, **changes):
    """The bytes that are written to 9/x/2."""
    changes.setdefault("size", len(code))
    text = json.dumps(header(**changes)).encode()
    content = b"FSP" + struct.pack(">BH", format_version, len(text)) + text + code
    return content + sha256(content).digest()


def blocks(data, size):
    """``(offset, data, more)`` of every block."""
    return [(start, data[start : start + size], start + size < len(data)) for start in range(0, len(data), size)]
