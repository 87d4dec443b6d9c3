"""The extras of the package: what to say of one that is not installed."""

from __future__ import annotations

from typing import Literal

from fita.base.errors import FitaError

Extra = Literal["device", "models", "solve"]

_MODULES: dict[str, Extra] = {"numpy": "models", "tflite": "models", "flatbuffers": "models", "highspy": "solve"}
"""Packages that only extras bring, by the name that they are imported by."""


def install_hint(extra: Extra) -> str:
    """How to install an extra. From the checkout: on PyPI, the name of the package is not ours."""
    return (
        f"install FITA with its extra {extra!r}; in a checkout: make .venv/.dev, "
        f"or .venv/bin/pip install -e '.[{extra}]'"
    )


def missing_extra(error: BaseException) -> FitaError | None:
    """What to tell a user of an import that fails for the lack of an extra; None for any other error."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    extra = _MODULES.get(package)
    if extra is None:
        return None
    return FitaError(f"{package}, which this command needs, is not installed", hint=install_hint(extra))
