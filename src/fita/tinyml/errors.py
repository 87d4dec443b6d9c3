"""Errors of the split-inference core.

FitaError
└── TinymlError
    ├── ModelError                   a model file cannot be used
    │   ├── ModelFormatError         it is no TensorFlow Lite file, damaged, or contradicts itself
    │   └── UnsupportedModelError    it is sound, but asks for more than FITA runs: operator, place, a way out
    ├── InputError                   an array does not fit the tensor it is meant for
    ├── SplitError                   stages are no split of the graph
    ├── NoPlanError                  the model does not fit the devices: which limit, by how much, what would help
    └── PackError                    a segment cannot be packed, or is no sound segment file
"""

from __future__ import annotations

from fita.base.errors import FitaError


class TinymlError(FitaError):
    """Anything that the split-inference core refuses."""


class ModelError(TinymlError):
    """A model file cannot be used."""


class ModelFormatError(ModelError):
    """The file is no TensorFlow Lite model, is damaged, or contradicts itself."""


class UnsupportedModelError(ModelError):
    """The model asks for something FITA does not run. `place` names the operator or tensor."""

    def __init__(self, message: str, *, place: str = "", hint: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.place = place


class InputError(TinymlError):
    """An array does not fit the tensor it is meant for, or one is missing."""


class SplitError(TinymlError):
    """Stages are no split of the graph they are meant for."""


class NoPlanError(TinymlError):
    """No split of the model fits the devices.

    `limit` is ``ram`` or ``flash``; `needed_bytes` of it are wanted where `available_bytes` are. `place` names the
    operator in the way, empty when it is all of them together.
    """

    def __init__(
        self, message: str, *, limit: str, needed_bytes: int, available_bytes: int, place: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes
        self.place = place

    @property
    def missing_bytes(self) -> int:
        return self.needed_bytes - self.available_bytes


class PackError(TinymlError):
    """A segment cannot be packed as asked, or is no sound segment file."""
