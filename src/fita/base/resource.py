"""Folders that travel with the package: device runtime, manifests, control plane source, demos, models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fita.base.errors import FitaError

Folder = Literal["device", "deploy", "controlplane", "demos", "models"]

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder(name: Folder) -> Path:
    """The folder `name` as installed with the package, or in the source checkout the package runs from."""
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent.parent / name):
        if candidate.is_dir():
            return candidate
    raise FitaError(f"the folder {name!r} is missing from this installation", hint="install FITA again")
