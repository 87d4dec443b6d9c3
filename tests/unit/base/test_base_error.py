from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import structlog

from fita.base.clock import rfc3339, rfc3339_micro, utc_now
from fita.base.errors import FitaError
from fita.base.logging import configure_logging
from fita.base.resource import resource_folder


def test_an_error_says_what_to_do() -> None:
    assert str(FitaError("the port is taken", hint="choose another")) == "the port is taken (choose another)"
    assert str(FitaError("the port is taken")) == "the port is taken"


def test_times_are_written_as_kubernetes_writes_them() -> None:
    moment = datetime(2026, 3, 1, 13, 0, 0, 250, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-03-01T12:00:00Z"
    assert rfc3339_micro(moment) == "2026-03-01T12:00:00.000250Z"
    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize(("verbosity", "events"), [(0, ["w"]), (1, ["i", "w"]), (2, ["d", "i", "w"])])
def test_verbosity_chooses_what_is_logged(verbosity: int, events: list[str]) -> None:
    stream = io.StringIO()
    configure_logging(verbosity=verbosity, as_json=True, stream=stream)
    try:
        log = structlog.get_logger()
        log.debug("d")
        log.info("i", device="lamp1")
        log.warning("w")
    finally:
        structlog.reset_defaults()
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == events


def test_folders_that_travel_with_the_package_are_found() -> None:
    assert (resource_folder("controlplane") / "go.mod").is_file()
