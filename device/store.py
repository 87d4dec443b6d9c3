"""Installed services in flash: `s<instance><a|b>.mpy` with the code and `s<instance>.json` with what is known.

Whatever moment the power goes, a service is there as before or as after: code goes to a file that nothing
names yet, and renaming the `.json` over the old one is the moment of change. Opening the store removes what
was left unnamed. Needs a file system whose rename replaces (littlefs, any Unix one).
"""

import json
import os
import sys
from binascii import hexlify
from hashlib import sha256

from micropython import const

_CHUNK = const(512)
_TEMPORARY = "new.tmp"


class Store:
    """The folder `folder` with room for `capacity` bytes."""

    def __init__(self, folder, capacity):
        self.folder = folder
        self.capacity = capacity
        try:
            os.mkdir(folder)
        except OSError:
            if not os.stat(folder)[0] & 0x4000:
                raise
        self._clean()

    def _clean(self):
        kept = set()
        for name in os.listdir(self.folder):
            if name.endswith(".json"):
                try:
                    files = codes(self.load(int(name[1:-5])))
                except (ValueError, KeyError, TypeError):
                    continue  # worn flash: a service less, but the device starts
                kept.add(name)
                kept.update(files)
        for name in os.listdir(self.folder):
            if name not in kept:
                os.remove(self.path(name))

    def path(self, name):
        return self.folder + "/" + name

    def instances(self):
        """The ids of the installed services, in order."""
        return sorted([int(name[1:-5]) for name in os.listdir(self.folder) if name.endswith(".json")])

    def load(self, instance):
        with open(self.path("s%d.json" % instance)) as file:
            return json.load(file)

    def save(self, instance, record):
        """Make `record` what is known of the service; its ``code`` file must be complete."""
        temporary = self.path(_TEMPORARY)
        with open(temporary, "w") as file:
            json.dump(record, file)
        os.rename(temporary, self.path("s%d.json" % instance))

    def remove(self, instance):
        """Remove a service; removing its `.json` is the moment of change."""
        record = self.load(instance)
        os.remove(self.path("s%d.json" % instance))
        for code in codes(record):
            self.discard(code)

    def discard(self, name):
        """Remove a file if it is there."""
        try:
            os.remove(self.path(name))
        except OSError:
            pass

    def free(self):
        """Bytes that services may still fill."""
        used = 0
        for name in os.listdir(self.folder):
            used += os.stat(self.path(name))[6]
        return max(self.capacity - used, 0)

    def digest(self, name):
        """The SHA-256 of a file in hex."""
        total = sha256()
        buffer = bytearray(_CHUNK)
        with open(self.path(name), "rb") as file:
            while True:
                count = file.readinto(buffer)
                if not count:
                    return str(hexlify(total.digest()), "ascii")
                total.update(memoryview(buffer)[:count])

    def module(self, record):
        """The code of an installed service as a module that nothing else sees: dropping it gives its memory back.

        MicroPython does not validate `.mpy` files, and a damaged one hangs or crashes it: OSError unless the file
        still has the SHA-256 that it had when it came.
        """
        if self.digest(record["code"]) != record["sha256"]:
            raise OSError("the code in flash is damaged")
        name = record["code"][:-4]
        sys.path.insert(0, self.folder)
        try:
            return __import__(name)
        finally:
            sys.path.pop(0)
            sys.modules.pop(name, None)


def codes(record):
    """The code files of a service: its own, and while an update has not started yet, the one before."""
    found = [record["code"]]
    if "previous" in record:
        found.append(record["previous"]["code"])
    return found
