"""The board: its settings, its sensors, its network."""


class Sensor:
    """``read()`` measures a number of `unit`; OSError when that fails. Shown as an instance of `object_id`."""

    def __init__(self, capability, read, unit, object_id):
        self.capability = capability
        self.read = read
        self.unit = unit
        self.object_id = object_id


class Board:
    """`settings` are those of config.py, complete and checked; `folder` holds all that the runtime writes."""

    def __init__(self, folder, settings, sensors):
        self.folder = folder
        self.settings = settings
        self.sensors = sensors

    def capabilities(self):
        """The names of sensors and actuators."""
        return [sensor.capability for sensor in self.sensors] + list(self.settings["actuators"])

    def sensor(self, capability):
        """The sensor of that capability; OSError when the board has none."""
        for sensor in self.sensors:
            if sensor.capability == capability:
                return sensor
        raise OSError("this board has no " + capability)

    def network(self):
        """``(IP addresses, signal strength in dBm)``; the strength is 0 on a wire."""
        addresses = self.settings["addresses"]
        return (addresses, 0) if addresses is not None else __import__("wlan").network()
