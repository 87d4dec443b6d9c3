"""The registration interface against a foreign CoAP client, libcoap's (Debian: libcoap3-bin)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fita.lwm2m.server import Lwm2mServer

pytestmark = pytest.mark.interop

DEADLINE_S = 20


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Lwm2mServer, str]]:
    server = Lwm2mServer(enrolled=lambda endpoint: endpoint != "stranger", on_output=lambda output: None)
    _, port = await server.open("127.0.0.1", 0)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run())
            yield server, f"coap://127.0.0.1:{port}"
            task.cancel()
    finally:
        await server.close()


async def coap_client(*arguments: str) -> str:
    """Everything that the client says, with the messages it sent and got."""
    program = shutil.which("coap-client-notls")
    if program is None:
        pytest.fail("coap-client-notls is missing: install the Debian package libcoap3-bin")
    process = await asyncio.create_subprocess_exec(
        program, "-v", "7", "-B", "5", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode(errors="replace")


def location(said: str) -> str:
    """The path of the registration in the client's log of the response."""
    parts = [part.split(",")[0].split(" ")[0] for part in said.split("Location-Path:")[1:]]
    assert len(parts) == 2, said
    return "/".join(parts)


async def test_a_foreign_client_registers_updates_and_leaves() -> None:
    async with serving() as (server, url):
        registering = f"{url}/rd?ep=foreign&lt=300&lwm2m=1.1&b=U"
        said = await coap_client("-m", "post", "-t", "40", "-e", '</>;rt="oma.lwm2m",</1/0>', registering)
        path = location(said)
        assert path.startswith("rd/")
        assert server.registered_devices == 1

        assert "2.04" in await coap_client("-m", "post", f"{url}/{path}?lt=600")
        assert "2.02" in await coap_client("-m", "delete", f"{url}/{path}")
        assert server.registered_devices == 0
        assert "4.04" in await coap_client("-m", "post", f"{url}/{path}")


async def test_a_long_object_list_comes_in_blocks() -> None:
    async with serving() as (server, url):
        links = ",".join(f"</3303/{number}>" for number in range(300))
        said = await coap_client("-m", "post", "-t", "40", "-b", "64", "-e", links, f"{url}/rd?ep=large&lwm2m=1.1")
        assert location(said)
        assert server.registered_devices == 1


async def test_a_foreign_client_is_told_why_it_is_refused() -> None:
    async with serving() as (server, url):
        said = await coap_client("-m", "post", "-t", "40", "-e", "</1/0>", f"{url}/rd?ep=stranger&lwm2m=1.1")
        assert "4.03" in said
        assert "stranger is not enrolled" in said
        assert "4.00" in await coap_client("-m", "post", "-t", "40", "-e", "</1", f"{url}/rd?ep=a&lwm2m=1.1")
        assert "4.12" in await coap_client("-m", "post", "-t", "40", "-e", "</1/0>", f"{url}/rd?ep=a&lwm2m=9.0")
        assert server.registered_devices == 0
