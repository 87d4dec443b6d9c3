"""What a gateway tells Prometheus of its devices and its socket."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

from prometheus_client import generate_latest

from fakes.memory_cluster import MemoryCluster
from fita.app.gateway import Gateway
from fita.app.settings import GatewaySettings
from fita.oci.puller import ArtifactSource

ROOT = Path(__file__).parents[3]


def gateway_in(folder: Path) -> Gateway:
    settings = GatewaySettings(data_dir=folder, gateway_name="gw")
    return Gateway(
        settings, MemoryCluster().client(), ArtifactSource(store=folder / "store", cache=folder / "cache")
    )


async def test_nonsense_on_the_socket_is_counted(tmp_path: Path) -> None:
    gateway = gateway_in(tmp_path)
    host, port = await gateway.devices.open("127.0.0.1", 0)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(gateway.devices.run())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"\xff\xff\xff\xff\xff", (host, port))
        while not gateway.devices.coap_counters.received:
            await asyncio.sleep(0.01)
        task.cancel()
    await gateway.devices.close()
    text = generate_latest(gateway.registry).decode()
    assert "# TYPE fita_coap_malformed_datagrams_total counter\nfita_coap_malformed_datagrams_total 1.0" in text
    assert "fita_registrations_refused_total 0.0" in text


async def test_every_metric_is_in_the_reference(tmp_path: Path) -> None:
    text = generate_latest(gateway_in(tmp_path).registry).decode()
    names = {name for name in re.findall(r"^# TYPE (fita_\w+) ", text, re.MULTILINE) if "_created" not in name}
    reference = (ROOT / "docs/reference/outputs.md").read_text(encoding="utf-8")
    assert {name for name in names if f"`{name}`" not in reference} == set()
