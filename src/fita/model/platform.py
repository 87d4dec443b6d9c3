"""What a device runs and what an artifact was built for, and whether the two fit.

An OCI platform has three parts. FITA's two kinds of device use them so:

=================  ================  ========================  =========
device             os                architecture              variant
=================  ================  ========================  =========
our runtime        ``micropython``   ``x64``, ``armv7em`` ...  ``v6``
FITA's embServe    ``zephyr``        ``arm``                   ``v7``
=================  ================  ========================  =========

``architecture`` of ours is the native code that the port loads, ``variant`` the version of its bytecode. An
artifact without native code has the architecture ``any``.
"""

from __future__ import annotations

import msgspec

from fita.base.errors import ConfigurationError

ARCHITECTURE_ANY = "any"
OS_MICROPYTHON = "micropython"


class Platform(msgspec.Struct, frozen=True):
    """An OCI platform, written ``os/architecture/variant``."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def kubernetes_architecture(self) -> str:
        """The form of a Node's ``nodeInfo.architecture``: ``arm-v7``, as FITA writes it."""
        return "-".join(part for part in (self.architecture, self.variant) if part)

    def runs(self, artifact: Platform) -> bool:
        """Whether a device of this platform can run an artifact built for `artifact`."""
        return (
            self.os == artifact.os
            and self.variant == artifact.variant
            and artifact.architecture in (self.architecture, ARCHITECTURE_ANY)
        )


def parse_platform(text: str) -> Platform:
    """``os/architecture[/variant]`` as `Platform`; `ConfigurationError` otherwise."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ConfigurationError(
            f"{text!r} is not a platform", hint="write os/architecture/variant, like micropython/any/v6"
        )
    return Platform(*parts)
