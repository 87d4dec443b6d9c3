"""The results of software updates (resource 9/x/9) that say why a package was not taken."""

from micropython import const

STORAGE_FULL = const(50)
OUT_OF_MEMORY = const(51)
CONNECTION_LOST = const(52)
INTEGRITY_FAILED = const(53)
UNSUPPORTED = const(54)
REFUSED = const(57)
INSTALL_FAILED = const(58)


class PackageError(Exception):
    """A package that this device does not take: the update `result` and its reason in words."""

    def __init__(self, result, text):
        self.result = result
        self.text = text
