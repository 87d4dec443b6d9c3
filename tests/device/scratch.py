"""A folder for one test, on CPython and on MicroPython, which has no tempfile and no shutil."""

import os
from binascii import hexlify


def make():
    """A new empty folder."""
    folder = "/tmp/fita-device-" + str(hexlify(os.urandom(6)), "ascii")
    os.mkdir(folder)
    return folder


def remove(folder):
    """Remove `folder` with all that is in it."""
    for name in os.listdir(folder):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            remove(path)
        else:
            os.remove(path)
    os.rmdir(folder)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()
