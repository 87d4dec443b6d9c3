"""The log of a background process: what it said last, and that it stays small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fita.localcluster import log
from fita.localcluster.log import LogFile

KLOG_INFO = "I1124 08:24:29.669073    2684 server.go:152] Golang settings"
KLOG_ERROR = "E1124 08:24:30.450741    2684 controller.go:95] Found stale data"
KLOG_FATAL = "F1124 08:24:30.450741    2684 server.go:9] cannot bind"
ZAP_FATAL = '{"level":"fatal","ts":"2026-11-24T08:24:29.629Z","msg":"failed to save state"}'
OWN = "fita-controlplane: kube-apiserver: failed to listen"


def write(file: LogFile, *lines: str) -> None:
    fd = file.open()
    os.write(fd, "".join(f"{line}\n" for line in lines).encode())
    os.close(fd)


@pytest.mark.parametrize(
    ("lines", "telling"),
    [
        ((KLOG_INFO, KLOG_ERROR, OWN), "kube-apiserver: failed to listen"),
        ((KLOG_FATAL, KLOG_INFO), "cannot bind"),
        ((ZAP_FATAL, KLOG_INFO), ZAP_FATAL),
        (("panic: runtime error", "", "goroutine 1 [running]:", "main.go:4"), "panic: runtime error"),
        ((KLOG_ERROR, KLOG_INFO), "Found stale data"),
        ((KLOG_INFO, "", ""), "Golang settings"),
        ((), ""),
    ],
)
def test_telling_line(tmp_path: Path, lines: tuple[str, ...], telling: str) -> None:
    file = LogFile(tmp_path / "log")
    write(file, *lines)
    assert file.telling_line() == telling


def test_errors_do_not_explain_an_end_from_outside(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log")
    write(file, KLOG_ERROR)
    assert file.telling_line(only_fatal=True) == ""


def test_only_the_present_run_counts(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log")
    write(file, OWN)
    write(file, KLOG_INFO)
    assert file.tail() == [KLOG_INFO]
    os.close(file.open())
    assert file.telling_line() == ""


def test_missing_file_says_nothing(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log")
    file.shorten()
    assert file.telling_line() == ""


def test_a_long_log_is_moved_while_its_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LIMIT_BYTES", 1000)
    file = LogFile(tmp_path / "log")
    fd = file.open()
    os.write(fd, b"old\n" * 200)
    file.shorten()
    assert not (tmp_path / "log.1").exists()
    os.write(fd, b"new\n" * 100)
    file.shorten()
    os.write(fd, b"after\n")
    os.close(fd)
    assert (tmp_path / "log").read_bytes() == b"after\n"
    assert (tmp_path / "log.1").read_bytes().endswith(b"new\n")
    assert (tmp_path / "log.1").stat().st_size == 1000
    assert file.tail() == ["after"]
