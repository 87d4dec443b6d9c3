"""`fita demo temperature` as the README promises it: it shows the main job, cleans up, and ends with 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def run_demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fita", "demo", "temperature", *arguments]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_the_json_report_holds_what_was_seen(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [node["name"] for node in report["nodes"]] == ["demo-b1-node1", "demo-b1-node2"]
    assert {node["memory_bytes"] for node in report["nodes"]} == {report["device_heap_bytes"]} == {128 * 1024}
    assert {pod["image"] for pod in report["pods"]} == {"fita.local/average:1", "fita.local/average:2"}
    pods = {pod["name"] for pod in report["pods"]}
    assert {value["pod"] for value in report["values"]} == pods
    assert {value["key"] for value in report["values"]} == {"average", "lowest", "highest"}
    assert report["register_to_ready_ms"] > 0
    assert report["apply_to_running_ms"] > 0
    assert report["kubernetes_version"].startswith("v1.")


def test_people_see_every_step_and_nothing_stays_behind(tmp_path: Path) -> None:
    done = run_demo(tmp_path)

    assert done.returncode == 0, done.stderr
    for step in ("kubectl apply", "kubectl scale", "kubectl set image", "kubectl delete"):
        assert f"✓ {step}" in done.stderr
    assert not list(tmp_path.glob("fita-*")), "the data folder, the devices' flash and firmware are removed"
