from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest
import structlog
from lwm2m_bench import AT, LAMP, Bench, order, settle, until
from lwm2m_device import FakeDevice, Radio

from fita.coap.code import Code
from fita.coap.message import option
from fita.coap.message.format import CON, RST, Message
from fita.kubelet.interfaces import DeviceRuntime
from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.server import Lwm2mServer
from fita.model.platform import Platform
from fita.model.runtime import DeployError, ServicePhase

pytestmark = pytest.mark.looptime


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench().running() as bench:
        yield bench


def output(
    device: FakeDevice, instance: int, value: float, *, application: str = "1000/average", object_id: int = 3300
) -> None:
    """Let the device have an output and notify its observers."""
    device.objects.setdefault(object_id, {})[instance] = {5700: value, 5701: "Cel", 5750: application}
    device.changed(instance, object_id)


def test_the_server_is_what_the_kubelet_asks_for() -> None:
    """Types are checked where `fita.app` joins the two; this holds names and parameters together."""
    asked = {
        name: item for name, item in vars(DeviceRuntime).items() if inspect.isfunction(item) and name[0] != "_"
    }
    assert len(asked) >= 5
    for name, item in asked.items():
        assert inspect.signature(getattr(Lwm2mServer, name)) == inspect.signature(item)


# Joining


async def test_a_device_is_read_and_announced(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    device.objects[3][0] |= {9: 80, 2: "SN1", 3: "1.2", 19: "0.1.0"}
    answer = await device.register(b="U")
    assert (answer.code, len(device.location)) == (Code.CREATED, 2)
    await until(lambda: bench.diary.joined)

    (profile,) = bench.diary.joined
    assert (profile.endpoint, profile.address, profile.lifetime_s) == ("lamp1", "10.0.1.1:5683", 60)
    assert profile.platform == Platform("micropython", "armv7em", "v6")
    assert (profile.memory_bytes, profile.service_memory_bytes, profile.storage_bytes) == (131072, 50_000, 200_000)
    assert (profile.capabilities, profile.battery_percent) == (("temperature_sensor", "led"), 80)
    assert (profile.serial_number, profile.firmware_version, profile.registered_at) == ("SN1", "1.2", AT)
    assert bench.server.devices() == {LAMP: profile}
    assert (bench.server.registered_devices, bench.server.registrations_total) == (1, 1)
    assert bench.radio.requests == ["GET /3", "GET /15", "GET /35010", "GET /9"]


async def test_a_device_that_says_little_gets_fitas_defaults(bench: Bench) -> None:
    device = FakeDevice(bench.radio, own_runtime=False)
    device.objects = {3: {0: {0: "Fraunhofer"}}}
    profile = await bench.joined(device)
    assert profile.platform == Platform("zephyr", "arm", "v7")
    assert (profile.cpu_millicores, profile.max_services, profile.api_version) == (1000, 5, 1)
    assert (profile.memory_bytes, profile.service_memory_bytes) == (262144, 262144)
    assert profile.capabilities == ()

    device.objects[3][0][21] = 64
    assert (await bench.joined(device)).service_memory_bytes == 65536


async def test_who_is_not_enrolled_is_refused(bench: Bench) -> None:
    bench.refused.add("lamp1")
    device = FakeDevice(bench.radio)
    answer = await device.register()
    assert (answer.code, answer.payload) == (Code.FORBIDDEN, b"lamp1 is not enrolled")
    await settle()
    assert bench.radio.requests == []
    assert (bench.server.registrations_total, bench.server.refused_total) == (0, 1)
    bench.refused.clear()
    await bench.joined(device)


async def test_whose_enrolment_ends_is_refused_at_its_next_update(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    bench.refused.add("lamp1")
    assert (await device.update()).code == Code.FORBIDDEN
    assert bench.diary.lost == [(LAMP, "the device is no longer enrolled")]
    assert bench.server.devices() == {}
    assert bench.server.refused_total == 1
    assert (await device.update()).code == Code.NOT_FOUND, "its registration has ended"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (("rd", "nobody"), Code.NOT_FOUND),
        (("bs",), Code.NOT_FOUND),
        ((), Code.NOT_FOUND),
        (("rd", "a", "b"), Code.NOT_FOUND),
    ],
)
async def test_nothing_else_is_served(bench: Bench, path: tuple[str, ...], code: Code) -> None:
    assert (await FakeDevice(bench.radio).post(*path, query=("ep=a",))).code == code


async def test_a_registration_that_is_no_link_format_is_refused(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    device.links = lambda: b"</3/0"  # type: ignore[method-assign]
    assert (await device.register()).code == Code.BAD_REQUEST


async def test_a_device_that_does_not_answer_is_read_as_soon_as_it_does(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await device.register(lifetime_s=600)
    device.silent = True
    await settle(120)
    assert bench.diary.joined == []
    assert bench.server.registered_devices == 1
    device.silent = False
    await until(lambda: bench.diary.joined)


async def test_a_sign_of_life_ends_the_waiting_between_two_attempts(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    with structlog.testing.capture_logs() as logs:
        await device.register(lifetime_s=600)
        device.silent = True
        await until(lambda: logs and logs[-1].get("again_in_s", 0) > 5)  # the next attempt is that far away
    device.silent = False
    await device.update()
    started = asyncio.get_running_loop().time()
    await until(lambda: bench.diary.joined)
    assert asyncio.get_running_loop().time() - started < 1


async def test_a_hundred_devices_join_at_once(bench: Bench) -> None:
    devices = [
        FakeDevice(bench.radio, endpoint=f"lamp{number}", peer=("10.0.2.1", 1000 + number))
        for number in range(100)
    ]
    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(device.register())
    await until(lambda: len(bench.diary.joined) == 100)
    assert len(bench.radio.requests) == 400  # four round trips each


async def test_garbage_in_one_object_leaves_the_rest(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    known = device.values
    device.values = lambda path: {} if path.object_id == 15 else known(path)  # type: ignore[method-assign]
    device.objects[3][0] |= {9: "full", 21: -1}
    profile = await bench.joined(device)
    assert (profile.capabilities, profile.battery_percent) == ((), None)
    assert profile.platform == Platform("micropython", "armv7em", "v6")


@pytest.mark.parametrize("payload", [b"", b"\x81" * 500, b"\x9b" + b"\xff" * 8, b"\xff\xff", b"[]"])
async def test_bytes_that_are_nothing_disturb_nobody(bench: Bench, payload: bytes) -> None:
    broken = FakeDevice(bench.radio)
    broken._get = lambda message, path: (Code.CONTENT, ((option.CONTENT_FORMAT, b"\x70"),), payload)  # type: ignore[method-assign]
    await broken.register()
    whole = FakeDevice(bench.radio, endpoint="lamp2", peer=("10.0.1.2", 5683))
    with structlog.testing.capture_logs() as logs:
        assert (await bench.joined(whole)).endpoint == "lamp2"
        await settle(5)
    assert not [entry for entry in logs if entry["log_level"] == "error"]


# Formats


@pytest.mark.parametrize(
    "formats",
    [{ContentFormat.TLV}, {ContentFormat.SENML_JSON, ContentFormat.TEXT}, {ContentFormat.TLV, ContentFormat.TEXT}],
)
async def test_a_device_without_senml_cbor_is_read_in_what_it_has(
    bench: Bench, formats: set[ContentFormat]
) -> None:
    device = FakeDevice(bench.radio, own_runtime=False)
    device.formats = formats
    profile = await bench.joined(device)
    assert profile.capabilities == ("temperature_sensor", "led")
    refused = len([request for request in bench.radio.requests if request == "GET /3"]) - 1
    assert refused in (1, 2)
    assert bench.radio.requests.count("GET /15") == 1  # what it sends is remembered

    status = await bench.server.deploy(LAMP, order(platform="zephyr/arm/v7"))
    assert status.phase is ServicePhase.RUNNING


# Living


async def test_updates_keep_a_device_alive_and_silence_ends_it(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    for _ in range(3):
        await settle(30)
        assert (await device.update()).code == Code.CHANGED
    assert len(bench.diary.joined) == 1
    await settle(59)
    assert LAMP in bench.server.devices()
    await settle(2)
    assert bench.diary.lost == [(LAMP, "the device was silent for its whole lifetime")]
    assert (bench.server.devices(), bench.server.services(LAMP), bench.server.registered_devices) == ({}, {}, 0)
    assert (await device.update()).code == Code.NOT_FOUND
    await bench.joined(device)


async def test_a_device_that_says_goodbye_is_lost(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    assert (await device.post(*device.location, delete=True)).code == Code.DELETED
    assert bench.diary.lost == [(LAMP, "the device said goodbye")]


async def test_a_device_that_moves_is_followed(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    del bench.radio.devices[device.peer]
    device.peer = ("10.0.9.9", 40000)
    bench.radio.devices[device.peer] = device
    assert (await device.update()).code == Code.CHANGED
    assert bench.server.devices()[LAMP].address == "10.0.9.9:40000"
    assert bench.diary.joined[-1].address == "10.0.9.9:40000"

    device.software[1000].phase = "crashed"
    device.changed(1000)
    await until(lambda: bench.server.services(LAMP)[1000].phase is ServicePhase.CRASHED)
    assert len(await bench.server.read_services(LAMP)) == 1


async def test_what_was_known_stays_visible_while_a_device_registers_anew(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    status = await bench.server.deploy(LAMP, order())
    await device.register()
    assert LAMP in bench.server.devices()
    assert bench.server.services(LAMP) == {1000: status}
    device.software[1000].phase = "crashed"
    await until(lambda: len(bench.diary.joined) == 2)
    assert bench.server.services(LAMP)[1000].phase is ServicePhase.CRASHED
    assert bench.diary.lost == []


async def test_observations_of_an_earlier_registration_are_rejected(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    (old_token,) = device.observations
    await bench.joined(device)
    answers: list[Message] = []
    bench.radio.loses = lambda message, to_device: answers.append(message) if to_device else False  # type: ignore[func-returns-value]
    bench.radio.transmit(
        Message(CON, Code.CONTENT, 9999, old_token, ((option.OBSERVE, b"\x09"),), b"x"), device.peer
    )
    await settle()
    assert [message.type for message in answers if message.message_id == 9999] == [RST]


async def test_a_new_gateway_finds_everything_again(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    before = await bench.server.deploy(LAMP, order())

    restarted = Bench()
    restarted.radio = device.radio = Radio()
    restarted.radio.devices[device.peer] = device
    restarted.server = restarted.new_server()
    async with restarted.running():
        assert (await device.update()).code == Code.NOT_FOUND
        await restarted.joined(device)
        assert restarted.server.services(LAMP) == {1000: before}
        output(device, 0, 20.5)
        await device.update(links=True)
        await until(lambda: restarted.diary.outputs)
        assert restarted.diary.outputs[0].workload == "uid/main"


# Services and outputs


async def test_changes_of_a_service_are_told(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    bench.diary.services.clear()
    item = device.software[1000]
    item.phase, item.restarts, item.error = "crashed", 2, "ValueError: no"
    device.changed(1000)
    await until(lambda: bench.diary.services)
    (status,) = bench.diary.services
    assert status is not None
    assert (status.phase, status.restart_count, status.error) == (ServicePhase.CRASHED, 2, "ValueError: no")
    device.changed(1000)
    await settle()
    assert len(bench.diary.services) == 1  # nothing new


async def test_a_service_that_somebody_else_removes_is_told(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    del device.software[1000]
    device.changed(1000)
    await until(lambda: bench.diary.services[-1] is None)
    assert bench.server.services(LAMP) == {}


async def test_outputs_are_observed_from_their_first_value_on(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    device.objects[3303] = {0: {5700: 19.0, 5701: "Cel", 5750: "temperature_sensor"}}
    device.objects[3308] = {0: {5900: 1.0, 5750: "1000/target"}}
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    output(device, 1, 20.5)
    await device.update(links=True)
    await until(lambda: bench.diary.outputs)
    output(device, 1, 21.5)
    await until(lambda: len(bench.diary.outputs) == 2)

    first, second = bench.diary.outputs
    assert (first.value, second.value) == (20.5, 21.5)
    assert (second.endpoint, second.workload, second.service) == ("lamp1", "uid/main", "average")
    assert (second.key, second.unit, second.received_at) == ("average", "Cel", AT)
    assert bench.server.notifications_total >= 2
    # Neither the board's sensor nor the service's input is an output.
    assert {str(entry[0]) for entry in device.observations.values()} == {"/9/1000", "/3300/1"}


async def test_an_integer_output_stays_an_integer(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    output(device, 0, 7, application="1000/count")
    device.objects[3342] = {0: {5500: True, 5750: "1000/on"}}
    await device.update(links=True)
    await until(lambda: len(bench.diary.outputs) == 2)
    assert {(entry.key, entry.value, type(entry.value)) for entry in bench.diary.outputs} == {
        ("count", 7, int),
        ("on", 1, int),
    }


async def test_an_output_that_goes_is_observed_no_longer(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    output(device, 0, 1.5)
    await device.update(links=True)
    await until(lambda: bench.diary.outputs)
    del device.objects[3300]
    await device.update(links=True)
    await settle()
    output(device, 0, 2.5)
    await settle()
    assert [entry.value for entry in bench.diary.outputs] == [1.5]
    assert "/3300/0" not in {str(entry[0]) for entry in device.observations.values()}  # rejected


async def test_an_output_of_no_service_is_told_to_nobody(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    output(device, 0, 1.5, application="1000/average")
    with structlog.testing.capture_logs() as logs:
        await bench.joined(device)
        output(device, 0, 2.5, application="1000/average")
        await settle()
    assert bench.diary.outputs == []
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]


async def test_a_value_is_never_told_as_another_services(bench: Bench) -> None:
    """An instance id that is used again between two updates: the value itself says whose it is."""
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    for number in range(2):
        await bench.server.deploy(LAMP, order(f"uid{number}/main", version=number))
    output(device, 0, 1.5, application="1000/average")
    await device.update(links=True)
    await until(lambda: bench.diary.outputs)
    output(device, 0, 2.5, application="1001/average")
    await until(lambda: len(bench.diary.outputs) == 2)
    assert [entry.workload for entry in bench.diary.outputs] == ["uid0/main", "uid1/main"]


async def test_what_cannot_be_observed_is_asked_for(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    device.observable = False
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    output(device, 0, 1.5)
    await device.update(links=True)
    await until(lambda: bench.diary.outputs)
    output(device, 0, 2.5)
    device.software[1000].phase = "crashed"
    await settle(15)
    assert bench.diary.outputs[-1].value == 2.5
    assert bench.server.services(LAMP)[1000].phase is ServicePhase.CRASHED


async def test_observations_that_a_device_gave_up_are_renewed(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device, lifetime_s=600)  # type: ignore[arg-type]
    await bench.server.deploy(LAMP, order())
    device.observations.clear()
    device.software[1000].phase = "crashed"
    for _ in range(4):
        await settle(300)
        await device.update()
    assert bench.server.services(LAMP)[1000].phase is ServicePhase.CRASHED
    assert len(device.observations) == 1


async def test_figures_are_read_when_they_are_asked_for(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    await bench.server.deploy(LAMP, order())
    device.objects[35003] = {
        0: {27400: "3:0", 27401: 12.5, 27402: 60_000, 27403: 3600, 27404: ""},
        1000: {27400: "9:1000", 27401: 2.5, 27402: 4096, 27403: 30, 27404: ""},
    }
    await device.update(links=True)
    stats = await bench.server.stats(LAMP)
    assert (stats.memory_free_bytes, stats.storage_free_bytes) == (40_000, 150_000)
    assert (stats.cpu_percent, stats.uptime_s, stats.battery_percent) == (12.5, 3600, None)
    assert bench.server.services(LAMP)[1000].memory_bytes == 4096
    (status,) = await bench.server.read_services(LAMP)
    assert (status.cpu_percent, status.uptime_s) == (2.5, 30)


async def test_stats_of_a_silent_device_are_an_error_and_nothing_else(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    device.silent = True
    with pytest.raises(DeployError, match="no answer"):
        await bench.server.stats(LAMP)
    assert bench.diary.lost == []


async def test_closing_tells_those_who_wait(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    device.silent = True

    async def reason() -> str:
        try:
            await bench.server.stats(LAMP)
        except DeployError as error:
            return error.message
        return ""

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(reason())
        await settle()
        await bench.server.close()
    assert await waiting == "the gateway stops"


async def test_more_operations_than_may_wait_are_refused(bench: Bench) -> None:
    device = FakeDevice(bench.radio)
    await bench.joined(device)
    device.silent = True
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.server.stats(LAMP))]
        await settle()
        tasks += [group.create_task(bench.server.stats(LAMP)) for _ in range(64)]
        await settle()
        with pytest.raises(DeployError, match="wait for the device already"):
            await bench.server.stats(LAMP)
        for task in tasks:
            task.cancel()
    device.silent = False
    await bench.server.stats(LAMP)  # who gave up takes no place
