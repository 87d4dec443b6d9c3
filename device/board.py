"""The board as `device.json` in flash describes it: names, addresses, sensors and their drivers.

A sensor's driver is a module with ``make(options)`` that returns an object with ``read()``; the emulated
board's is `signals`, a real board brings its own files.
"""

import gc
import json
import sys

from micropython import const

_DEFAULT_STORAGE = const(262144)
_DEFAULT_LIFETIME_S = const(300)
_DEFAULT_SERVICES = const(5)
_COAP_PORT = const(5683)
_REQUIRED = const(-1)

# By the number in bits 10-13 of sys.implementation._mpy (enum MP_NATIVE_ARCH_* of py/persistentcode.h).
_ARCHITECTURES = (
    "any x86 x64 armv6 armv6m armv7m armv7em armv7emsp armv7emdp xtensa xtensawin rv32imc rv64imc".split()
)


class BoardError(ValueError):
    """`device.json` cannot be used."""


class Sensor:
    """A sensor of the board: a capability, the driver's object and the unit of its values."""

    def __init__(self, capability, driver, unit):
        self.capability = capability
        self.read = driver.read
        self.unit = unit


class Board:
    """What `device.json` says. `folder` is where it stands, and all that the runtime writes."""

    def __init__(self, folder, settings):
        self.folder = folder
        self._settings = settings
        self.endpoint = self._get("endpoint", str)
        self.gateway = _host_port(self._get("gateway", str))
        self.lifetime_s = self._get("lifetime_s", int, _DEFAULT_LIFETIME_S)
        self.storage_bytes = self._get("storage_bytes", int, _DEFAULT_STORAGE)
        self.max_services = self._get("max_services", int, _DEFAULT_SERVICES)
        self.heap_bytes = self._get("heap_bytes", int, gc.mem_alloc() + gc.mem_free())
        self.sensors = []
        for options in self._get("sensors", list, ()):
            self.sensors.append(_sensor(options, folder))
        self.capabilities = [sensor.capability for sensor in self.sensors]
        self.capabilities.extend(self._get("actuators", list, ()))

    def text(self, name, default):
        """A name for people, like ``manufacturer``."""
        return self._get(name, str, default)

    def number(self, name, default):
        return self._get(name, int, default)

    @property
    def battery_percent(self):
        """None without a battery."""
        return self._get("battery_percent", int, None)

    def signal_strength(self):
        """In dBm, 0 on a wire."""
        try:
            import network

            return network.WLAN(network.WLAN.IF_STA).status("rssi")
        except (ImportError, OSError, ValueError):
            return 0

    def addresses(self):
        """The board's IP addresses."""
        found = self._get("addresses", list, ())
        return list(found) if found else _wlan_addresses()

    def sensor(self, capability):
        """The sensor of that capability; OSError when the board has none."""
        for sensor in self.sensors:
            if sensor.capability == capability:
                return sensor
        raise OSError("this board has no " + capability)

    def _get(self, name, kind, default=_REQUIRED):
        value = self._settings.get(name, default)
        if value is default and default != _REQUIRED:
            return default
        if not isinstance(value, kind) or value == "":
            raise BoardError("device.json: %s is missing or wrong" % name)
        return value


def load(folder):
    """The board of the folder `folder`; BoardError says what is wrong with its `device.json`."""
    try:
        with open(folder + "/device.json") as file:
            settings = json.load(file)
    except OSError:
        raise BoardError(folder + "/device.json cannot be read")
    except ValueError:
        raise BoardError(folder + "/device.json is not JSON")
    if not isinstance(settings, dict):
        raise BoardError("device.json: not an object")
    return Board(folder, settings)


def mpy_version():
    """``(version, architecture number)`` of the `.mpy` files that this port loads."""
    number = getattr(sys.implementation, "_mpy", 6)
    return number & 255, number >> 10 & 15


def platform():
    """This port as ``os/architecture/variant``."""
    version, architecture = mpy_version()
    return "micropython/%s/v%d" % (_ARCHITECTURES[architecture], version)


def _host_port(text):
    host, _, port = text.rpartition(":")
    if not host:
        return text, _COAP_PORT
    try:
        return host, int(port)
    except ValueError:
        raise BoardError("device.json: gateway must be host:port, not " + text)


def _sensor(options, folder):
    capability = options.get("capability")
    if not isinstance(capability, str) or not isinstance(options.get("driver"), str):
        raise BoardError("device.json: a sensor needs capability and driver")
    options["folder"] = folder
    try:
        driver = __import__(options["driver"]).make(options)
    except ImportError:
        raise BoardError("device.json: no driver %s for %s" % (options["driver"], capability))
    return Sensor(capability, driver, options.get("unit", ""))


def _wlan_addresses():
    try:
        import network

        return [network.WLAN(network.WLAN.IF_STA).ifconfig()[0]]
    except (ImportError, OSError):
        return []
