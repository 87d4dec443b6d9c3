"""What goes wrong: each fault has a name to act on, disturbs nobody else, and heals when its cause is gone."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from field import Field, demo_service, open_field

from fakes.link import Link
from fita.localcluster.folder import DataFolder
from fita.model.platform import parse_platform
from fita.model.service import Dependencies, ServiceManifest
from fita.oci.artifact import encode_artifact
from fita.oci.layout import LayoutStore
from fita.oci.reference import parse_reference

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PORTABLE = "micropython/any/v6"
OUTAGE_S = 60.0
"""How long the API server is away in its test: longer than any lease or request deadline."""
LARGE_MANIFEST = 'memory = "128Ki"\n'
LARGE_HEAP_BYTES = 512 * 1024
LARGE = "TABLE = (\n" + ",\n".join(f'    "row {n} of a table that only takes flash"' for n in range(600)) + "\n)\n"
"""Some 30 kB of code: its upload takes long enough to be interrupted."""


@pytest.fixture
async def field(cluster, tmp_path: Path) -> AsyncIterator[Field]:
    async with open_field(
        tmp_path,
        kubectl=cluster.kubectl,
        admin=cluster.admin_kubeconfig,
        kubeconfig=cluster.gateway_kubeconfig,
        name="fault",
    ) as opened:
        yield opened


async def test_malformed_datagrams_disturb_nobody(field: Field) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1")
    rng = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        for _ in range(5000):
            datagram = bytearray(rng.randbytes(rng.randrange(64)))
            if datagram and rng.random() < 0.7:
                datagram[0] = 0x40 | datagram[0] & 0x3F  # looks like CoAP for longer
            attacker.sendto(datagram, ("127.0.0.1", field.gateway.coap_port))

    await field.run_pod("unmoved", image)
    await field.until_pod("unmoved", "Running")
    metrics = await field.metrics()
    assert metrics["fita_coap_datagrams_total"] > 1000, "the datagrams arrived"
    assert metrics["fita_coap_malformed_datagrams_total"] > 100, "most of them were refused as what they are"
    broken = ("part failed", "handler failed", "callback failed", "Traceback (most recent call last)")
    assert [text for text in broken if text in field.gateway.log] == []


async def test_a_wrong_digest_is_named(field: Field) -> None:
    await field.boot("b1_node1")
    await field.run_pod("digest", f"fita.local/average@sha256:{'0' * 64}")
    await field.until(lambda: _pull_failed(field, "digest"), True, what="the pull fails")
    assert "is not in the local store" in await field.events("digest")


async def test_content_that_is_not_what_its_digest_says_is_not_run(field: Field) -> None:
    """A whole and valid service, but another one than the pod asks for by digest."""
    content = encode_artifact(
        ServiceManifest(name="other", version=1), parse_platform(PORTABLE), (await _compiled(field)).binary
    )
    asked = "1" * 64
    (field.gateway.data_dir / "store/blobs/sha256" / asked).write_bytes(content.manifest.data)
    await field.boot("b1_node1")
    await field.run_pod("exchanged", f"fita.local/average@sha256:{asked}")
    await field.until_pod("exchanged", "IntegrityCheckFailed")
    assert "does not have its digest" in await field.events("exchanged")


async def test_a_damaged_artifact_is_named_and_heals(field: Field) -> None:
    image = await field.build(demo_service("average"))
    (layer,) = [
        p for p in (field.gateway.data_dir / "store/blobs/sha256").iterdir() if b'"service"' in p.read_bytes()
    ]
    whole = layer.read_bytes()
    layer.write_bytes(whole[:-40] + b"x" * 40)
    await field.boot("b1_node1")
    await field.run_pod("damaged", image)
    await field.until_pod("damaged", "IntegrityCheckFailed")
    assert "does not have its digest" in await field.events("damaged")

    layer.write_bytes(whole)
    await field.until_pod("damaged", "Running")


async def test_a_wrong_platform_is_named(field: Field) -> None:
    _put(field, "fita.local/zephyr:1", platform="zephyr/arm/v7", api=1)
    await field.boot("b1_node1")
    await field.run_pod("zephyr", "fita.local/zephyr:1")
    await field.until_pod("zephyr", "UnsupportedPlatform")
    assert "micropython" in await field.events("zephyr")


async def test_a_newer_service_api_is_named(field: Field) -> None:
    code = (await _compiled(field)).binary
    _put(field, "fita.local/newer:1", platform=PORTABLE, api=9, binary=code)
    await field.boot("b1_node1")
    await field.run_pod("newer", "fita.local/newer:1")
    await field.until_pod("newer", "UnsupportedAPIVersion")


async def test_a_service_too_large_for_the_device_is_named_and_the_others_run_on(field: Field) -> None:
    image = await field.build(demo_service("average"))
    greedy = await field.write_service("greedy", "def setup(service):\n    pass\n", toml='memory = "200Ki"\n')
    await field.boot("b1_node1")
    await field.run_pod("modest", image)
    await field.until_pod("modest", "Running")

    await field.run_pod("greedy", greedy)
    await field.until_pod("greedy", "OutOfMemory")
    assert await field.pod_state("modest") == "Running"


async def test_a_request_that_no_device_has_stays_with_the_scheduler(field: Field) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1")
    await field.run_pod("huge", image, container="resources: {requests: {memory: 1Mi}}")
    await field.until(lambda: _mentions(field, "huge", "Insufficient memory"), True, what="the scheduler says why")


async def test_a_crashing_service_loops_and_is_repaired_by_an_update(field: Field) -> None:
    broken = await field.write_service("fragile", "def setup(service):\n    raise ValueError('no such lamp')\n")
    mended = await field.write_service("fragile", "def setup(service):\n    pass\n", version=2)
    await field.boot("b1_node1")
    await field.run_pod("fragile", broken)
    await field.until_pod("fragile", "CrashLoopBackOff")
    assert "no such lamp" in await field.run("get", "pod", "fragile", "--output=yaml")

    await field.run("set", "image", "pod/fragile", f"main={mended}")
    await field.until_pod("fragile", "Running")


async def test_a_link_that_loses_a_fifth_of_all_datagrams_is_only_slow(field: Field) -> None:
    image = await field.build(demo_service("average"))
    async with Link(("127.0.0.1", field.gateway.coap_port), loss=0.2) as link:
        await field.boot("b1_node1", gateway=link.address, lifetime_s=120)
        await field.run_pod("lossy", image)
        await field.until_pod("lossy", "Running")


async def test_half_an_upload_is_finished_when_the_link_is_back(field: Field) -> None:
    image = await field.write_service("large", LARGE + "def setup(service):\n    pass\n", toml=LARGE_MANIFEST)
    async with Link(("127.0.0.1", field.gateway.coap_port)) as link:
        await field.boot("b1_node1", gateway=link.address, lifetime_s=120, heap_bytes=LARGE_HEAP_BYTES)
        link.cut_after(10_000)
        await field.run_pod("half", image)
        await asyncio.wait_for(link.is_cut.wait(), 60)
        assert await field.pod_state("half") != "Running"
        link.mend()
        await field.until_pod("half", "Running")


async def test_a_device_killed_in_the_middle_of_an_install_takes_it_up_again(field: Field) -> None:
    image = await field.write_service("large", LARGE + "def setup(service):\n    pass\n", toml=LARGE_MANIFEST)
    other = await field.build(demo_service("average"))
    async with Link(("127.0.0.1", field.gateway.coap_port)) as link:
        await field.boot("b1_node1", gateway=link.address, heap_bytes=LARGE_HEAP_BYTES)
        await field.boot("b1_node2")
        link.cut_after(10_000)
        await field.run_pod("install", image, node="b1_node1")
        await asyncio.wait_for(link.is_cut.wait(), 60)
        await field.fleet.kill("b1_node1")
        await field.run_pod("elsewhere", other, node="b1_node2")
        await field.until_pod("elsewhere", "Running")  # nobody waits for a dead device

        link.mend()
        await field.fleet.restart("b1_node1")
        await field.until_pod("install", "Running")


async def test_a_gateway_killed_in_the_middle_of_a_deployment_finishes_it_after_its_restart(field: Field) -> None:
    image = await field.write_service("large", LARGE + "def setup(service):\n    pass\n", toml=LARGE_MANIFEST)
    steady = await field.build(demo_service("average"))
    async with Link(("127.0.0.1", field.gateway.coap_port)) as link:
        await field.boot("b1_node1", gateway=link.address, heap_bytes=LARGE_HEAP_BYTES)
        await field.run_pod("steady", steady)
        await field.until_pod("steady", "Running")
        link.cut_after(10_000)
        await field.run_pod("install", image)
        await asyncio.wait_for(link.is_cut.wait(), 60)
        await field.gateway.end(signal.SIGKILL)
        link.mend()

        await field.gateway.start()
        await field.until_pod("install", "Running")
        await field.until_pod("steady", "Running")
    for name in ("steady", "install"):
        status = (await field.get("pod", name))["status"]["containerStatuses"][0]
        assert status["restartCount"] == 0, "the restart of a gateway restarts nothing on a device"


async def test_an_api_server_that_is_gone_for_a_minute_costs_nothing(field: Field, cluster) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1")
    await field.run_pod("before", image)
    await field.until_pod("before", "Running")

    os.kill(cluster.control_plane_pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(OUTAGE_S)  # the length of the outage is what is tested
        assert {output.pod for output in await field.outputs()} == {"before"}, "values go on without Kubernetes"
    finally:
        os.kill(cluster.control_plane_pid, signal.SIGCONT)

    await field.until_node_ready("b1_node1")
    await field.run_pod("after", image)
    await field.until_pod("after", "Running")
    status = (await field.get("pod", "before"))["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0


async def test_a_control_plane_that_is_killed_is_found_again(field: Field, cluster) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1")
    await field.run_pod("before", image)
    await field.until_pod("before", "Running")

    killed = cluster.control_plane_pid
    os.kill(killed, signal.SIGKILL)
    await field.until(
        lambda: _answers_anew(cluster, killed), True, what="a new control plane is ready in the killed one's place"
    )

    await field.run_pod("after", image)
    await field.until_pod("after", "Running")
    await field.until_node_ready("b1_node1")
    status = (await field.get("pod", "before"))["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0


async def _answers_anew(cluster, killed: int) -> bool:
    state = DataFolder(cluster.data_dir).read_state()
    return state is not None and state.ready and state.control_plane_pid not in (killed, None)


async def _pull_failed(field: Field, name: str) -> bool:
    return await field.pod_state(name) in {"ErrImagePull", "ImagePullBackOff"}


async def _mentions(field: Field, name: str, text: str) -> bool:
    return text in await field.events(name) or text in await field.run("describe", "pod", name)


async def _compiled(field: Field):
    from fita.oci.puller import ArtifactSource

    image = await field.build(demo_service("average"))
    store = field.gateway.data_dir / "store"
    async with ArtifactSource(store=store, cache=field.folder / "cache") as source:
        return await source.pull(image, parse_platform(PORTABLE))


def _put(field: Field, reference: str, *, platform: str, api: int, binary: bytes = b"\x01\x02") -> None:
    manifest = ServiceManifest(name="made", version=1, dependencies=Dependencies(sdk_api=api))
    content = encode_artifact(manifest, parse_platform(platform), binary)
    LayoutStore(field.gateway.data_dir / "store").put(parse_reference(reference), [content])
