"""Loads a service's code from flash as a module that nothing else can see.

MicroPython does not validate `.mpy` files, and a damaged one hangs or crashes the interpreter: none is loaded
whose SHA-256 is not that of the installed one.
"""

import sys


class CodeError(Exception):
    """The code in flash is damaged."""


def load(store, record):
    """The module of an installed service. It is not in `sys.modules`: dropping it gives its memory back."""
    code = record["code"]
    if store.digest(code) != record["sha256"]:
        raise CodeError("the code in flash does not match its SHA-256")
    name = code[:-4]
    sys.path.insert(0, store.folder)
    try:
        return __import__(name)
    finally:
        sys.path.remove(store.folder)
        sys.modules.pop(name, None)
