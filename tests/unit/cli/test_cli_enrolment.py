"""`fita device enroll|revoke` against an API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fakes.api_server import FakeApiServer
from fita.cli.device.enrolment import enroll, revoke
from fita.kube.resource import DEVICES

CONFIG = """
apiVersion: v1
kind: Config
current-context: only
contexts: [{name: only, context: {cluster: only, user: only}}]
clusters: [{name: only, cluster: {server: "%s"}}]
users: [{name: only, user: {}}]
"""


async def test_a_person_enrols_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubeconfig = tmp_path / "config"
    async with FakeApiServer() as server:
        kubeconfig.write_text(CONFIG % server.url)
        for endpoint in ("b1-node2", "b1_node2"):
            await asyncio.to_thread(enroll, endpoint, kubeconfig, tmp_path)
        assert {found["spec"]["endpoint"] for found in server.objects(DEVICES)} == {"b1-node2", "b1_node2"}
        said = capsys.readouterr().out
        assert "b1_node2 may join" in said
        assert "after 5 minutes" in said, "why a device that was refused is not there at once"

        await asyncio.to_thread(revoke, "b1-node2", kubeconfig, tmp_path)
        assert [found["spec"]["endpoint"] for found in server.objects(DEVICES)] == ["b1_node2"]
        assert "at its next message" in capsys.readouterr().out
