from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from lwm2m_bench import LAMP, Bench, order, settle, until
from lwm2m_device import FakeDevice, Software

from fita.coap.code import Code
from fita.coap.message.format import Message
from fita.model.device import Endpoint
from fita.model.runtime import DeployError, DeployReason, ServicePhase

pytestmark = pytest.mark.looptime

HEADER = {"id": "u/y", "digest": "d", "name": "n", "version": 1}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench().running() as bench:
        yield bench


@pytest.fixture
async def device(bench: Bench) -> FakeDevice:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    return device


async def refused(bench: Bench, **options: object) -> DeployError:
    with pytest.raises(DeployError) as caught:
        await bench.server.deploy(LAMP, order(**options))
    return caught.value


# The way it should be


async def test_a_service_is_installed_started_and_read_back(bench: Bench, device: FakeDevice) -> None:
    bench.radio.requests.clear()
    status = await bench.server.deploy(LAMP, order())

    assert (status.phase, status.instance, status.workload) == (ServicePhase.RUNNING, 1000, "uid/main")
    assert status.digest == f"sha256:{1:064x}"
    assert bench.server.services(LAMP) == {1000: status}
    steps = [request for request in bench.radio.requests if "PUT" not in request]
    assert steps == [
        "GET /9",
        "POST /9",
        "GET /9/1000",  # as it was created
        "GET /9/1000",  # observed from here on
        "GET /9/1000",  # after the download
        "POST /9/1000/4",
        "GET /9/1000",  # after the installation
        "POST /9/1000/10",
        "GET /9/1000",  # running
    ]


async def test_the_package_is_what_the_protocol_says(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order())
    package = device.installed_bytes
    header = device.software[1000].header
    assert header == {
        "id": "uid/main", "digest": f"sha256:{1:064x}", "name": "average", "version": 1, "api": 1,
        "platform": "micropython/any/v6", "in": [], "out": [["average", 1, "", "Cel"]], "env": {"WINDOW": "3"},
        "mem": 8192, "size": 3000,
    }  # fmt: skip
    assert package[-32:] == hashlib.sha256(package[:-32]).digest()
    assert package.endswith(order().artifact.binary + package[-32:])


async def test_lost_and_doubled_datagrams_change_nothing(bench: Bench, device: FakeDevice) -> None:
    fates = iter([False, False, True, False, False, False] * 100)
    bench.radio.loses = lambda message, to_device: next(fates)
    status = await bench.server.deploy(LAMP, order())
    assert status.phase is ServicePhase.RUNNING
    assert list(device.software) == [1000]
    assert device.installed_bytes.count(order().artifact.binary) == 1


async def test_a_service_that_is_there_is_only_started(bench: Bench, device: FakeDevice) -> None:
    first = await bench.server.deploy(LAMP, order())
    bench.radio.requests.clear()
    assert await bench.server.deploy(LAMP, order()) == first
    assert bench.radio.requests == ["GET /9"]

    device.software[1000].active, device.software[1000].phase = False, "stopped"
    assert (await bench.server.deploy(LAMP, order())).phase is ServicePhase.RUNNING
    assert not [request for request in bench.radio.requests if request.startswith("PUT")]


async def test_several_services_stand_side_by_side(bench: Bench, device: FakeDevice) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(bench.server.deploy(LAMP, order(f"uid{number}/main", version=number)))
    assert [item.phase for item in device.software.values()] == ["running"] * 4
    assert len({item.header["id"] for item in device.software.values()}) == 4


async def test_removing_is_done_when_it_is_gone(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order())
    await bench.server.remove(LAMP, 1000)
    assert device.software == {}
    assert bench.server.services(LAMP) == {}
    assert bench.diary.services[-1] is None
    await bench.server.remove(LAMP, 1000)


# What devices refuse


@pytest.mark.parametrize(
    ("result", "reason", "retryable"),
    [
        (50, DeployReason.OUT_OF_STORAGE, True),
        (51, DeployReason.OUT_OF_MEMORY, True),
        (52, DeployReason.DEVICE_UNREACHABLE, True),
        (53, DeployReason.INTEGRITY_CHECK_FAILED, True),
        (54, DeployReason.UNSUPPORTED_PLATFORM, False),
        (57, DeployReason.TOO_MANY_SERVICES, True),
        (58, DeployReason.START_FAILED, True),
        (99, DeployReason.DEVICE_REFUSED, True),
    ],
)
async def test_a_rejected_package_is_named_although_the_device_answered_2_04(
    bench: Bench, device: FakeDevice, result: int, reason: DeployReason, retryable: bool
) -> None:
    device.verdict = lambda header: result
    error = await refused(bench)
    assert (error.reason, error.retryable) == (reason, retryable)
    assert "lamp1" in error.message
    if reason is not DeployReason.DEVICE_UNREACHABLE:
        assert device.software == {}


async def test_an_older_service_api_is_told_from_too_many_services(bench: Bench, device: FakeDevice) -> None:
    device.verdict = lambda header: 57
    error = await refused(bench, api=2)
    assert error.reason is DeployReason.UNSUPPORTED_API_VERSION
    assert not error.retryable


async def test_another_platform_is_refused_before_anything_is_sent(bench: Bench, device: FakeDevice) -> None:
    bench.radio.requests.clear()
    error = await refused(bench, platform="zephyr/arm/v7")
    assert error.reason is DeployReason.UNSUPPORTED_PLATFORM
    assert bench.radio.requests == []


async def test_an_environment_that_does_not_fit_is_named(bench: Bench, device: FakeDevice) -> None:
    large = order()
    large.environment["TEXT"] = "x" * 2048
    with pytest.raises(DeployError) as caught:
        await bench.server.deploy(LAMP, large)
    assert caught.value.reason is DeployReason.INVALID_PACKAGE
    assert device.software == {}


async def test_a_setup_that_fails_leaves_nothing_behind(bench: Bench, device: FakeDevice) -> None:
    device.start = lambda header: ["starting", "crashed"]
    error = await refused(bench)
    assert error.reason is DeployReason.START_FAILED
    assert "boom" in error.message
    assert device.software == {}


async def test_a_setup_that_never_returns_counts_as_failed(bench: Bench, device: FakeDevice) -> None:
    device.start = lambda header: ["starting"]
    error = await refused(bench)
    assert error.reason is DeployReason.START_FAILED
    assert "within 60 s" in error.message
    assert device.software == {}


async def test_a_service_that_crashes_after_its_setup_did_start(bench: Bench, device: FakeDevice) -> None:
    device.start = lambda header: ["starting"]
    async with asyncio.TaskGroup() as group:
        deploying = group.create_task(bench.server.deploy(LAMP, order()))
        await until(lambda: device.software and device.software[1000].phase == "starting")
        await settle(1)
        device.software[1000].phase = "running"
        device.changed(1000)
        await asyncio.sleep(0)  # the notification is on its way with this phase
        device.software[1000].phase = "crashed"
        device.changed(1000)
    assert (await deploying).instance == 1000
    assert list(device.software) == [1000]


async def test_a_device_that_cannot_create_an_instance_says_why(bench: Bench, device: FakeDevice) -> None:
    device._post = lambda message, path: (Code.SERVICE_UNAVAILABLE, (), b"no instance left")  # type: ignore[method-assign]
    error = await refused(bench)
    assert error.reason is DeployReason.DEVICE_REFUSED
    assert "no instance left" in error.message


async def test_a_device_without_object_9_takes_no_services(bench: Bench) -> None:
    sensor = FakeDevice(bench.radio)
    sensor.links = lambda: b"</3/0>"  # type: ignore[method-assign]
    await bench.joined(sensor)
    error = await refused(bench)
    assert error.reason is DeployReason.DEVICE_REFUSED
    assert not error.retryable


async def test_a_device_that_nobody_knows_is_unreachable(bench: Bench) -> None:
    error = await refused(bench)
    assert (error.reason, error.retryable) == (DeployReason.DEVICE_UNREACHABLE, True)
    with pytest.raises(DeployError, match="not registered"):
        await bench.server.stats(LAMP)


async def test_a_package_that_is_refused_at_its_first_block_is_named_by_the_update_result(
    bench: Bench, device: FakeDevice
) -> None:
    def put(message: Message, path: tuple[int, ...]) -> tuple[Code, tuple[()], bytes]:
        device.software[path[1]].result = 54
        return Code.BAD_REQUEST, (), b"not a package"

    device._put = put  # type: ignore[method-assign]
    error = await refused(bench)
    assert error.reason is DeployReason.UNSUPPORTED_PLATFORM
    assert device.software == {}


async def test_a_refusal_without_update_result_is_named_by_its_code(bench: Bench, device: FakeDevice) -> None:
    device._put = lambda message, path: (Code.REQUEST_ENTITY_TOO_LARGE, (), b"")  # type: ignore[method-assign]
    assert (await refused(bench)).reason is DeployReason.OUT_OF_STORAGE
    device._put = lambda message, path: (Code.FORBIDDEN, (), b"locked")  # type: ignore[method-assign]
    error = await refused(bench)
    assert (error.reason, "locked" in error.message) == (DeployReason.DEVICE_REFUSED, True)


async def test_a_setup_that_fails_and_is_tried_again_by_the_device_has_failed(
    bench: Bench, device: FakeDevice
) -> None:
    """The crash itself may go unseen: the device is starting again when it is asked."""
    device.start = lambda header: ["starting"]
    async with asyncio.TaskGroup() as group:
        deploying = group.create_task(refused(bench))
        await until(lambda: device.software and device.software[1000].phase == "starting")
        await settle(1)
        device.software[1000].restarts, device.software[1000].error = 1, "boom"
        device.changed(1000)
        await settle(1)
        assert deploying.done()
    assert (await deploying).reason is DeployReason.START_FAILED


async def test_a_crashed_service_is_started_again_at_once(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order())
    device.software[1000].phase = "crashed"
    device.changed(1000)
    bench.radio.requests.clear()
    assert (await bench.server.deploy(LAMP, order())).phase is ServicePhase.RUNNING
    assert [request for request in bench.radio.requests if "POST" in request] == [
        "POST /9/1000/11",
        "POST /9/1000/10",
    ]


async def test_an_instance_that_vanishes_in_the_middle_is_no_hang(bench: Bench, device: FakeDevice) -> None:
    device.start = lambda header: ["starting"]
    async with asyncio.TaskGroup() as group:
        deploying = group.create_task(refused(bench))
        await until(lambda: device.software and device.software[1000].phase == "starting")
        device.software.clear()
        await settle(10)
        assert deploying.done()
    assert "dropped instance 1000" in (await deploying).message


# What happens in the middle


async def test_a_lost_link_is_unreachable_and_the_device_stays_registered(
    bench: Bench, device: FakeDevice
) -> None:
    device.silent = True
    error = await refused(bench)
    assert (error.reason, error.retryable) == (DeployReason.DEVICE_UNREACHABLE, True)
    assert LAMP in bench.server.devices()


async def test_an_upload_that_was_cut_off_is_cleaned_up_and_done_again(bench: Bench, device: FakeDevice) -> None:
    def dies_in_the_third_block(message: Message, to_device: bool) -> bool:
        device.silent = device.silent or (
            to_device and message.code == Code.PUT and len(device.software[1000].received) > 2000
        )
        return device.silent

    bench.radio.loses = dies_in_the_third_block
    assert (await refused(bench)).reason is DeployReason.DEVICE_UNREACHABLE
    assert device.software[1000].state == 1

    bench.radio.loses, device.silent = lambda message, to_device: False, False
    status = await bench.server.deploy(LAMP, order())
    assert (status.instance, list(device.software)) == (1001, [1001])


async def test_a_killed_gateways_half_installs_are_cleaned_up_when_the_device_registers(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    device.software[1000] = Software(state=1, result=1)
    device.software[1001] = Software(state=3, result=3, delivered={**HEADER, "id": "u/x"})
    running = Software(state=4, result=2, active=True, phase="running", header=HEADER)
    device.software[1002] = running
    device.software[1003] = Software(state=3, result=3, active=True, phase="running", header=running.header)

    await bench.joined(device)
    assert list(device.software) == [1002, 1003]
    assert {status.workload for status in bench.server.services(LAMP).values()} == {"u/y"}


async def test_a_create_whose_answer_was_lost_leaves_no_instance_for_ever(
    bench: Bench, device: FakeDevice
) -> None:
    bench.radio.loses = lambda message, to_device: not to_device and message.code == Code.CREATED
    assert (await refused(bench)).reason is DeployReason.DEVICE_UNREACHABLE
    assert list(device.software) == [1000]
    bench.radio.loses = lambda message, to_device: False
    await bench.server.deploy(LAMP, order())
    assert list(device.software) == [1001]


async def test_a_device_that_restarts_in_the_middle_ends_the_deployment_at_once(
    bench: Bench, device: FakeDevice
) -> None:
    device.start = lambda header: ["starting"]
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        deploying = group.create_task(refused(bench))
        await until(lambda: device.software and device.software[1000].phase == "starting")
        started = loop.time()
        await device.register()
    error = await deploying
    assert "registered anew" in error.message
    assert error.retryable
    assert loop.time() - started < 1


async def test_a_caller_who_gives_up_stops_the_work(bench: Bench, device: FakeDevice) -> None:
    device.start = lambda header: ["starting"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await bench.server.deploy(LAMP, order())
    bench.radio.requests.clear()
    await settle(10)
    assert bench.radio.requests == []
    device.software[1000].phase = "running"
    assert (await bench.server.deploy(LAMP, order())).instance == 1000


async def test_one_silent_device_does_not_delay_another(bench: Bench, device: FakeDevice) -> None:
    other = FakeDevice(bench.radio, endpoint="lamp2", peer=("10.0.1.2", 5683))
    await bench.joined(other)
    device.silent = True
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        hanging = group.create_task(bench.server.deploy(LAMP, order()))
        await settle(0.1)
        started = loop.time()
        await bench.server.deploy(Endpoint("lamp2"), order("uid2/main"))
        assert loop.time() - started < 1
        hanging.cancel()


# Replacing


async def test_our_runtime_is_updated_in_the_same_instance(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order())
    status = await bench.server.deploy(LAMP, order(version=2))
    assert (status.instance, status.version, status.phase) == (1000, "2", ServicePhase.RUNNING)
    assert list(device.software) == [1000]


async def test_an_update_that_does_not_start_leaves_the_version_before_running(
    bench: Bench, device: FakeDevice
) -> None:
    await bench.server.deploy(LAMP, order())
    device.start = lambda header: ["starting", "crashed" if header["version"] == 2 else "running"]
    error = await refused(bench, version=2)
    assert error.reason is DeployReason.START_FAILED
    (status,) = bench.server.services(LAMP).values()
    assert (status.version, status.phase) == ("1", ServicePhase.RUNNING)
    # Going back to what runs is no failure, whatever the device still says of the update.
    assert (await bench.server.deploy(LAMP, order())).phase is ServicePhase.RUNNING


async def test_where_there_is_no_room_for_both_the_old_one_goes_first(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order())
    device.verdict = lambda header: 50 if any(item.header for item in device.software.values()) else 3
    status = await bench.server.deploy(LAMP, order(version=2))
    assert (status.version, status.phase) == ("2", ServicePhase.RUNNING)
    assert len(device.software) == 1


async def test_a_first_service_that_does_not_fit_removes_nobody(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order("other/main"))
    device.verdict = lambda header: 51
    assert (await refused(bench)).reason is DeployReason.OUT_OF_MEMORY
    assert [item.phase for item in device.software.values()] == ["running"]


async def test_orphans_of_the_same_workload_are_deleted(bench: Bench, device: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order())
    header = device.software[1000].header
    for instance, version in ((1005, 1), (1006, 7)):
        digest = f"sha256:{version:064x}"
        device.software[instance] = Software(
            state=4, result=2, phase="stopped", header={**header, "digest": digest}
        )
    await bench.server.deploy(LAMP, order())
    assert list(device.software) == [1000]


# FITA's own devices: raw binaries, no workload, no phase


@pytest.fixture
async def embserve(bench: Bench) -> FakeDevice:
    device = FakeDevice(bench.radio, own_runtime=False)
    await bench.joined(device)
    return device


async def test_fitas_device_gets_the_binary_as_it_is(bench: Bench, embserve: FakeDevice) -> None:
    ordered = order(platform="zephyr/arm/v7")
    status = await bench.server.deploy(LAMP, ordered)
    assert embserve.installed_bytes == ordered.artifact.binary
    assert (status.phase, status.workload, status.digest) == (
        ServicePhase.RUNNING,
        "uid/main",
        ordered.artifact.digest,
    )


async def test_fitas_device_keeps_its_workloads_when_it_registers_again(
    bench: Bench, embserve: FakeDevice
) -> None:
    await bench.server.deploy(LAMP, order(platform="zephyr/arm/v7"))
    await bench.joined(embserve)
    assert [status.workload for status in bench.server.services(LAMP).values()] == ["uid/main"]


async def test_a_restarted_gateway_adopts_what_runs_on_fitas_device(bench: Bench) -> None:
    device = FakeDevice(bench.radio, own_runtime=False)
    device.software[1000] = Software(
        state=4, result=2, active=True, phase="running", header={"name": "average", "version": 1}
    )
    await bench.joined(device)
    bench.radio.requests.clear()
    status = await bench.server.deploy(LAMP, order(platform="zephyr/arm/v7"))
    assert (status.instance, status.workload) == (1000, "uid/main")
    assert bench.radio.requests == ["GET /9"]
    second = await bench.server.deploy(LAMP, order("uid2/main", platform="zephyr/arm/v7"))
    assert second.instance != 1000


async def test_what_fitas_device_does_not_delete_is_not_taken_for_the_service(
    bench: Bench, embserve: FakeDevice
) -> None:
    embserve._delete = lambda message, path: (Code.METHOD_NOT_ALLOWED, (), b"")  # type: ignore[method-assign]
    embserve.verdict = lambda header: 53
    await refused(bench, platform="zephyr/arm/v7")
    embserve.verdict = lambda header: 3
    status = await bench.server.deploy(LAMP, order(platform="zephyr/arm/v7"))
    assert (status.instance, status.phase) == (1001, ServicePhase.RUNNING)


async def test_fitas_device_gets_the_new_one_beside_the_old(bench: Bench, embserve: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order(platform="zephyr/arm/v7"))
    seen: list[list[int]] = []
    embserve.verdict = lambda header: seen.append(list(embserve.software)) or 3
    status = await bench.server.deploy(LAMP, order(version=2, platform="zephyr/arm/v7"))
    assert seen == [[1000, 1001]]
    assert (status.instance, list(embserve.software)) == (1001, [1001])


async def test_fitas_device_goes_back_when_the_new_one_does_not_start(bench: Bench, embserve: FakeDevice) -> None:
    await bench.server.deploy(LAMP, order(platform="zephyr/arm/v7"))

    def does_not_start(item: Software) -> None:
        item.active = item is embserve.software[1000]

    embserve._activate = does_not_start  # type: ignore[method-assign]
    error = await refused(bench, version=2, platform="zephyr/arm/v7")
    assert error.reason is DeployReason.START_FAILED
    assert [(instance, item.active) for instance, item in embserve.software.items()] == [(1000, True)]
