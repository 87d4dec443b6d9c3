"""FitaError
└── DemoError     a step did not show what it promises
"""

from __future__ import annotations

from fita.base.errors import FitaError


class DemoError(FitaError):
    """A step of a demonstration did not show what it promises."""
