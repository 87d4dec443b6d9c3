"""The root of every error tree in FITA.

FitaError
├── ConfigurationError   what a user wrote cannot be used
└── (one tree per package, drawn in that package's ``errors`` module)
"""

from __future__ import annotations


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
