"""Reads `device.json`: what this board is called, where its gateway is, which sensors it has.

Needed at the start only; `main` unloads it afterwards. Every field is checked here, so that nothing else has to.
"""

import gc
import json
import sys

from board import Board, Sensor
from micropython import const

_REQUIRED = const(0)
_COAP_PORT = const(5683)
_GENERIC_SENSOR = const(3300)

# Name, type, default. Memory and storage in bytes.
_FIELDS = (
    ("endpoint", str, _REQUIRED),
    ("gateway", str, _REQUIRED),
    ("lifetime_s", int, 300),
    ("heap_bytes", int, None),
    ("storage_bytes", int, 262144),
    ("max_services", int, 5),
    ("sensors", list, ()),
    ("actuators", list, ()),
    ("addresses", list, None),
    ("bearer", int, 41),  # Ethernet; 21 is wireless LAN
    ("battery_percent", int, None),
    ("manufacturer", str, "FITA"),
    ("model", str, "emulated"),
    ("serial_number", str, None),
    ("device_type", str, "far-edge"),
    ("hardware_version", str, "1"),
)

# By the number in bits 10-13 of sys.implementation._mpy (enum MP_NATIVE_ARCH_* of py/persistentcode.h).
_ARCHITECTURES = (
    "any x86 x64 armv6 armv6m armv7m armv7em armv7emsp armv7emdp xtensa xtensawin rv32imc rv64imc"
)


class ConfigurationError(ValueError):
    """`device.json` cannot be used."""


def load(folder):
    """The board of the folder `folder`; ConfigurationError says what is wrong with its `device.json`."""
    try:
        with open(folder + "/device.json") as file:
            given = json.load(file)
    except OSError:
        raise ConfigurationError(folder + "/device.json cannot be read")
    except ValueError:
        raise ConfigurationError(folder + "/device.json is not JSON")
    if not isinstance(given, dict):
        raise ConfigurationError("device.json is not an object")
    settings = {}
    for name, kind, default in _FIELDS:
        value = given.get(name)
        if value is None and default != _REQUIRED:
            value = default
        elif not isinstance(value, kind) or value == "":
            raise ConfigurationError("device.json: %s is missing or wrong" % name)
        settings[name] = value
    settings["gateway"] = _host_port(settings["gateway"])
    settings["platform"] = platform()
    settings["serial_number"] = settings["serial_number"] or settings["endpoint"]
    settings["heap_bytes"] = settings["heap_bytes"] or gc.mem_alloc() + gc.mem_free()
    sensors = [_sensor(options, folder) for options in settings.pop("sensors")]
    return Board(folder, settings, sensors)


def platform():
    """This port as ``os/architecture/variant``: which code it loads."""
    number = getattr(sys.implementation, "_mpy", 6)
    return "micropython/%s/v%d" % (_ARCHITECTURES.split()[number >> 10 & 15], number & 255)


def _host_port(text):
    host, _, port = text.rpartition(":")
    if not host:
        return text, _COAP_PORT
    try:
        return host, int(port)
    except ValueError:
        raise ConfigurationError("device.json: gateway must be host:port, not " + text)


def _sensor(options, folder):
    capability = options.get("capability")
    driver = options.get("driver")
    if not isinstance(capability, str) or not isinstance(driver, str):
        raise ConfigurationError("device.json: a sensor needs capability and driver")
    options["folder"] = folder
    try:
        read = __import__(driver).make(options).read
    except (ImportError, ValueError, OSError) as error:
        raise ConfigurationError("device.json: %s, driver %s: %s" % (capability, driver, error))
    return Sensor(capability, read, options.get("unit", ""), options.get("object", _GENERIC_SENSOR))
