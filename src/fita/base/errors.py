"""The root of every error tree in FITA.

FitaError
├── ConfigurationError   what a user wrote cannot be used
└── (one tree per package, drawn in that package's ``errors`` module)
"""

from __future__ import annotations

from collections.abc import Iterator


class FitaError(Exception):
    """An error with a message for the user and a hint that says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigurationError(FitaError):
    """What a user wrote (a file, an option, a manifest) cannot be used."""


def named_error(error: Exception) -> FitaError | None:
    """What to tell a user of `error`, which may be a group: its first `FitaError`, else what the system refused.

    None when anything in it is neither: a fault of FITA's own, whose traceback is needed.
    """
    if not isinstance(error, ExceptionGroup):
        return error if isinstance(error, FitaError) else _refusal(error)
    known, others = error.split((FitaError, OSError))
    if known is None or others is not None:
        return None
    leaves = list(_leaves(known))
    return named_error(next((leaf for leaf in leaves if isinstance(leaf, FitaError)), leaves[0]))


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _refusal(error: Exception) -> FitaError | None:
    if not isinstance(error, OSError):
        return None
    said = error.strerror or str(error) or ("it took too long" if isinstance(error, TimeoutError) else "refused")
    where = f"{error.filename}: " if error.filename is not None else ""
    return FitaError(f"{where}{said}", hint="run `fita -v` with the same command to see where this happens")
