"""The fake API server keeps the contract that tests/e2e holds against a real one."""

from __future__ import annotations

import asyncio

import pytest

from fakes.api_contract import CONTRACT, Test
from fakes.api_server import FakeApiServer
from fita.kube.client import KubernetesClient


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
async def test_the_fake_keeps_the_contract(test: Test) -> None:
    async with asyncio.timeout(20), FakeApiServer() as server, KubernetesClient(server.access) as client:
        server.forget_history()
        await test(client, "farm")
