"""What ends the process in the background reaches its starter in words, whatever it is."""

from __future__ import annotations

import structlog

from fita.app.background import _told


def test_a_fault_is_named_for_the_starter_and_traced_in_the_log() -> None:
    fault = ExceptionGroup("outer", [ExceptionGroup("inner", [OverflowError("port must be 0-65535.")])])
    with structlog.testing.capture_logs() as logs:
        told = _told(fault)
    assert told.message == "OverflowError: port must be 0-65535."
    assert "gateway.log" in told.hint
    assert [(entry["event"], entry.get("exc_info")) for entry in logs] == [("ended by a fault", True)]


def test_what_the_system_refuses_is_told_without_a_trace() -> None:
    with structlog.testing.capture_logs() as logs:
        assert _told(ExceptionGroup("", [PermissionError(13, "Permission denied", "/x")])).message == (
            "/x: Permission denied"
        )
    assert [entry["event"] for entry in logs] == ["ended"]
