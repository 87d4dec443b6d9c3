"""The average, the lowest and the highest of this device's temperature over its last readings.

Environment: WINDOW is how many readings count (default 10), INTERVAL_MS the time between two (default 500).
"""

from array import array


class Window:
    """The last readings. The memory for them is taken once."""

    def __init__(self):
        self.sensor = None
        self.count = 0

    def start(self, sensor, size):
        if size < 1:
            raise ValueError("WINDOW must be at least 1")
        self.sensor = sensor
        self.readings = array("f", [0.0] * size)

    def read(self):
        self.readings[self.count % len(self.readings)] = self.sensor.read()
        self.count += 1

    def average(self):
        filled = min(self.count, len(self.readings))
        total = 0.0
        for index in range(filled):
            total += self.readings[index]
        return total / filled

    def lowest(self):
        return min(self.readings[: min(self.count, len(self.readings))])

    def highest(self):
        return max(self.readings[: min(self.count, len(self.readings))])


window = Window()


def setup(service):
    window.start(service.sensor("temperature_sensor"), int(service.env.get("WINDOW", "10")))
    service.interval_ms = int(service.env.get("INTERVAL_MS", "500"))
    service.log(f"average, lowest and highest of {len(window.readings)} readings")


def loop(service):
    window.read()
    service.output("average", window.average())
    service.output("lowest", window.lowest())
    service.output("highest", window.highest())


def on_quit(service):
    service.log(f"{window.count} readings in all")
