"""Errors of the operating system reach a user as a message and a hint, with and without a background process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def fita(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fita", *arguments],
        check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


def refused(result: subprocess.CompletedProcess[str], text: str) -> None:
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert f"error: {text}" in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize("mode", ["up", "gateway", "detached"])
def test_a_data_folder_that_is_a_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_text("")
    arguments = {"up": ["up"], "gateway": ["gateway"], "detached": ["up", "--detach"]}[mode]
    refused(fita(*arguments, f"--data-dir={path}", f"--kubeconfig={tmp_path / 'k'}"), f"cannot use {path}")


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    for mode in ([], ["--detach"]):
        result = fita("up", *mode, f"--data-dir={tmp_path / 'data'}", XDG_CACHE_HOME=str(path))
        refused(result, f"cannot use {path}/fita/controlplane")


def test_anything_else_that_the_system_refuses(tmp_path: Path) -> None:
    for mode in ([], ["--detach"]):
        result = fita("up", *mode, f"--data-dir={tmp_path / 'data'}", f"--kubeconfig={tmp_path}", "--http-port=0")
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert "error: " in result.stderr
