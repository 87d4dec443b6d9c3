"""A device's services without a device: a clock that tests move, code that they write. For both Pythons."""

import coap
import sample
import scratch
from board import Board, Sensor
from coap import RequestError
from host import Host
from installer import Installer
from ipso import Ports
from limits import Limits
from objects import Tree
from server import Server
from software import Software
from store import Store


class Code:
    """Stands for a service's module: has the functions it is given."""

    def __init__(self, **functions):
        for name, function in functions.items():
            setattr(self, name, function)


class Rig:
    """`code` maps the digest of a package to its module. `restart()` is what a loss of power leaves."""

    def __init__(self, code):
        self.folder = scratch.make()
        self.code = code
        self.now = 0
        self.changes = []
        self.settings = {"platform": "micropython/x64/v6", "max_services": 3}
        self.sensor_value = 21.5
        self.installer = None
        self.restart()

    def restart(self):
        self.close_files()
        self.tree = Tree()
        self.server = Server(self.tree)
        self.ports = Ports(self.tree, self.changed)
        self.store = Store(self.folder + "/services", 20000)
        sensor = Sensor("temperature_sensor", lambda: self.sensor_value, "Cel", 3303)
        board = Board(self.folder, self.settings, [sensor])
        self.host = Host(self.load, board, self.ports, self.clock, self.changed)
        self.host.memory_total = 1000000
        self.limits = Limits(self.settings, self.store, self.host)
        self.installer = Installer(self.store, self.limits, self.host, self.changed)
        self.host.settled = self.installer.settled
        self.software = Software(self.tree, self.installer, self.host, self.changed)
        self.tree.objects[9] = self.software
        self.installer.resume()

    def close_files(self):
        """As the end of a process does."""
        if self.installer is not None:
            for entry in self.installer.entries.values():
                if entry.upload is not None:
                    entry.upload._file.close()

    def close(self):
        self.close_files()
        scratch.remove(self.folder)

    def clock(self):
        return self.now

    def changed(self, what):
        self.changes.append(what)

    def load(self, record):
        if self.store.digest(record["code"]) != record["sha256"]:
            raise OSError("damaged")
        return self.code[record["header"]["digest"]]

    def step(self, ms=0):
        """Let time pass, then do what is due."""
        self.now += ms
        return self.host.step()

    def value(self, instance, resource):
        for found, value in self.software.read(instance):
            if found == resource:
                return value
        return None

    def state(self, instance):
        """Update state and result."""
        return self.value(instance, 7), self.value(instance, 9)

    def upload(self, instance, data, size=256):
        """Send a package as the gateway does, which stops when it is refused."""
        for offset, part, more in sample.blocks(data, size):
            try:
                self.software.write_block(instance, 2, offset, part, more)
            except RequestError as error:
                if error.code != coap.BAD_REQUEST:
                    raise
                return

    def deploy(self, digest, **changes):
        """Create, upload, install and activate; the instance."""
        changes.setdefault("mem", 100000)
        instance = self.software.create()
        self.upload(instance, sample.package(digest=digest, **changes))
        self.software.execute(instance, 4)
        self.software.execute(instance, 10)
        return instance

    def ports_of(self, instance):
        """The application types, after the instance, of the ports that a service shows."""
        prefix = "%d/" % instance
        found = []
        for number in sorted(self.tree.objects):
            if 3200 < number < 3500:
                for port in self.tree.objects[number].ports.values():
                    if port.application.startswith(prefix):
                        found.append((number, port.application[len(prefix) :]))
        return found
