"""The runtime as it runs: MicroPython with a heap limit, a UDP socket, flash, and a gateway in lock step."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import coap
import pytest
import sample
from lockstep import AVERAGE, DeviceProcess, Gateway, compiled

COUNTER = """
count = 0

def setup(service):
    service.interval_ms = 50

def loop(service):
    global count
    count += 1
    service.output("average", count)
"""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def device(firmware: Path, tmp_path: Path, gateway: Gateway) -> Iterator[DeviceProcess]:
    with DeviceProcess(firmware, tmp_path / "flash", gateway) as device:
        gateway.wait_registered()
        yield device


def value_of(gateway: Gateway, port: str) -> float | None:
    """What the output `port`, like ``1000/average``, has now."""
    found = gateway.read("3303")
    assert isinstance(found, dict)
    for name, value in found.items():
        if value == port:
            return found.get(name.replace("5750", "5700"))
    return None


def test_registration_and_objects(gateway: Gateway, device: DeviceProcess) -> None:
    code, path, query, links = gateway.registrations[0]
    assert (code, path, query) == (coap.POST, ["rd"], ["ep=b1_node1", "lt=60", "lwm2m=1.1", "b=U"])
    assert links == ('</>;rt="oma.lwm2m";ct=112,</1/0>,</3/0>,</4/0>,</9>,</15/0>,</3303/0>,</35003/0>,</35010/0>')
    assert gateway.read("1/0") == {"0": 1, "1": 60}
    about = gateway.read("3/0")
    assert isinstance(about, dict)
    assert (about["21"], about["16"], about["2"]) == (128, "U", "b1_node1")
    assert 32 < about["10"] < 128
    assert gateway.read("4/0/4") == {"4/0": "127.0.0.1"}
    assert gateway.read("9") == {}
    assert gateway.read("15/0/0") == "temperature_sensor"
    assert gateway.read("3303/0") == {"5700": 21.5, "5701": "Cel", "5750": "temperature_sensor"}
    usage = gateway.read("35003/0")
    assert isinstance(usage, dict)
    assert (usage["27400"], usage["27404"]) == ("3:0", "")
    runtime = gateway.read("35010/0")
    assert isinstance(runtime, dict)
    assert (runtime["27500"], runtime["27501"], runtime["27506"]) == ("micropython/x64/v6", 1, 5)
    assert 0 < runtime["27503"] == runtime["27502"] < 128 * 1024
    assert runtime["27504"] == runtime["27505"] == 256 * 1024


def test_a_service_lives_and_leaves_no_trace(gateway: Gateway, device: DeviceProcess) -> None:
    before = gateway.used_bytes()
    code = (AVERAGE / "average" / "main.py").read_text(encoding="utf-8")
    instance = gateway.deploy(code, env={"WINDOW": "3", "INTERVAL_MS": "10"})
    gateway.wait_for(lambda: value_of(gateway, f"{instance}/average") == 21.5, "no output comes")
    assert any(f"</9/{instance}>" in links and "</3303/" in links for _, _, _, links in gateway.registrations[1:])
    usage = gateway.read(f"35003/{instance}")
    assert isinstance(usage, dict)
    assert usage["27400"] == f"9:{instance}"
    assert 1000 < usage["27402"] < 8192
    assert gateway.read(f"9/{instance}/27515") == "average of 3 readings"
    assert device.files() == [f"s{instance}.json", f"s{instance}a.mpy"]
    for resource in (11, 6):
        assert gateway.execute(f"9/{instance}/{resource}") == coap.CHANGED
    assert gateway.request(coap.DELETE, f"9/{instance}").code == coap.DELETED
    assert device.files() == []
    assert value_of(gateway, f"{instance}/average") is None
    assert gateway.used_bytes() - before <= 4096


def test_outputs_are_observed_and_inputs_delivered(gateway: Gateway, device: DeviceProcess) -> None:
    code = """
def setup(service):
    service.output("average", 1)

def on_input(service, key, value):
    service.output("average", value * 2)
    service.log("%s is %s" % (key, value))
"""
    instance = gateway.deploy(code)
    gateway.wait_for(lambda: value_of(gateway, f"{instance}/average") == 1.0, "no output comes")
    assert gateway.request(coap.GET, "3303", OBSERVE=0).option(coap.OBSERVE) == 0
    inputs = gateway.read("3308")
    assert isinstance(inputs, dict)
    (name,) = [name for name, value in inputs.items() if value == f"{instance}/threshold"]
    assert gateway.request(coap.PUT, f"3308/{name.split('/')[0]}/5900", b"10.5").code == coap.CHANGED
    gateway.wait_for(lambda: gateway.notifications, "no notification comes")
    assert value_of(gateway, f"{instance}/average") == 21.0
    assert gateway.read(f"9/{instance}/27515") == "threshold is 10.5"


HOARDER = """
kept = []

def setup(service):
    service.interval_ms = 10

def loop(service):
    kept.append(bytearray(%d))
"""


FAULTS = (
    (HOARDER % 500, "out of memory"),  # a slow leak, stopped at its quota
    (HOARDER % 200000, "MemoryError"),
    ("def setup(service):\n    kept = [bytearray(99) for _ in range(100000)]", "MemoryError"),
    ("def setup(service):\n    setup(service)", "recursion"),
    ("import sys\ndef loop(service):\n    sys.exit(1)", "SystemExit"),
    ("def loop(service):\n    1 / 0", "ZeroDivisionError: divide by zero (main.py, line 2"),
    ("def setup(service):\n    service.sensor('microphone')", "this board has no microphone"),
    ("import nowhere\ndef setup(service):\n    pass", "ImportError"),
    ("x = 1", "neither setup nor loop"),
)


def test_a_fault_stays_with_its_service(firmware: Path, tmp_path: Path, gateway: Gateway) -> None:
    with DeviceProcess(
        firmware, tmp_path / "flash", gateway, heap_bytes=256 * 1024, max_services=len(FAULTS) + 1
    ) as device:
        gateway.wait_registered()
        good = gateway.deploy(COUNTER)
        bad = [gateway.deploy(code, phase="crashed", mem=8192) for code, _ in FAULTS]
        errors = [str(gateway.read(f"9/{instance}/27514")) for instance in bad]
        assert [error in found for found, (_, error) in zip(errors, FAULTS, strict=True)] == [True] * len(bad), (
            errors
        )
        before = value_of(gateway, f"{good}/average")
        gateway.wait_for(lambda: value_of(gateway, f"{good}/average") != before, "the other service stands still")
        for instance in bad:
            restarted = lambda instance=instance: str(gateway.read(f"9/{instance}/27513")) != "0"  # noqa: E731
            gateway.wait_for(restarted, f"{instance} is not started again")
        assert gateway.read(f"9/{good}/27512") == "running"
        assert gateway.read(f"9/{good}/27513") == "0"
        assert device.status is None


def test_an_update_that_fails_gives_way_to_the_one_before(gateway: Gateway, device: DeviceProcess) -> None:
    instance = gateway.deploy(COUNTER, digest="sha256:old")
    gateway.write_package(instance, sample.package(compiled("def setup(service): 1 / 0"), digest="sha256:new"))
    assert gateway.execute(f"9/{instance}/4") == coap.CHANGED
    gateway.wait_for(lambda: gateway.read(f"9/{instance}/9") == "58", "the update is not given up")
    gateway.wait_phase(instance, "running")
    assert gateway.read(f"9/{instance}/27511") == "sha256:old"
    assert "divide by zero" in str(gateway.read(f"9/{instance}/27514"))


def do_steps(gateway: Gateway, instance: int, data: bytes, count: int) -> None:
    """The first `count` requests of a deployment: the package's blocks, install, activate."""
    for number, (_, part, more) in enumerate(sample.blocks(data, 64)[:count]):
        block = number << 4 | more << 3 | 2
        gateway.request(coap.PUT, f"9/{instance}/2", part, CONTENT_FORMAT=42, BLOCK1=block)
    for resource in (4, 10)[: max(count - len(sample.blocks(data, 64)), 0)]:
        gateway.execute(f"9/{instance}/{resource}")


def test_a_loss_of_power_at_every_moment_of_a_deployment(gateway: Gateway, device: DeviceProcess) -> None:
    data = sample.package(compiled(COUNTER), digest="sha256:x")
    blocks = len(sample.blocks(data, 64))
    for boots, moment in enumerate([*range(0, blocks, 3), blocks, blocks + 1, blocks + 2], start=2):
        instance = gateway.create()
        do_steps(gateway, instance, data, moment)
        device.kill()
        device.start()
        gateway.wait_registered(boots)
        found = gateway.read("9")
        assert isinstance(found, dict)
        if moment <= blocks:
            assert found == {}
            assert device.files() == []
            continue
        assert (found[f"{instance}/7"], found[f"{instance}/27511"]) == (4, "sha256:x")
        assert device.files() == [f"s{instance}.json", f"s{instance}a.mpy"]
        if moment > blocks + 1:
            gateway.wait_phase(instance, "running")
        gateway.request(coap.DELETE, f"9/{instance}")
    assert device.files() == []


def test_damaged_code_in_flash_is_not_loaded(gateway: Gateway, device: DeviceProcess) -> None:
    instance = gateway.deploy(COUNTER)
    device.kill()
    path = device.folder / "services" / f"s{instance}a.mpy"
    path.write_bytes(path.read_bytes()[:-20] + bytes(20))
    device.start()
    gateway.wait_registered(2)
    gateway.wait_phase(instance, "crashed")
    assert "damaged" in str(gateway.read(f"9/{instance}/27514"))


def test_a_lossy_link(firmware: Path, tmp_path: Path) -> None:
    with Gateway(loss=0.2, seed=5) as gateway, DeviceProcess(firmware, tmp_path / "flash", gateway) as device:
        gateway.wait_registered()
        instance = gateway.deploy(COUNTER)
        gateway.request(coap.DELETE, f"9/{instance}")
        assert device.files() == []


def test_nonsense_does_not_harm(gateway: Gateway, device: DeviceProcess) -> None:
    rng = random.Random(3)
    request = coap.Message(coap.CON, coap.GET, 1, b"tok")
    for segment in ("3303", "0", "5700"):
        request.add(coap.URI_PATH, segment)
    valid = request.encode()
    for _ in range(400):
        data = bytearray(valid if rng.random() < 0.7 else rng.randbytes(rng.randrange(60)))
        for _ in range(rng.randrange(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        gateway.send(bytes(data))
        if rng.random() < 0.05:
            assert gateway.read("3/0/21") == "128"
    assert gateway.read("3303/0/5700") == "21.5"
    assert "Traceback" not in device.output()


def test_strangers_are_not_answered(gateway: Gateway, device: DeviceProcess) -> None:
    assert gateway.device is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.sendto(coap.Message(coap.CON, coap.GET, 1).encode(), gateway.device)
        assert gateway.read("3/0/21") == "128"  # the device has taken the datagram before
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)


def test_a_gateway_that_has_forgotten_the_device(firmware: Path, tmp_path: Path, gateway: Gateway) -> None:
    gateway.update_code = coap.NOT_FOUND
    with DeviceProcess(firmware, tmp_path / "flash", gateway, lifetime_s=1):
        gateway.wait_registered(2)
    assert [path for _, path, _, _ in gateway.registrations][:3] == [["rd"], ["rd", "5a"], ["rd"]]


def test_a_gateway_that_was_started_anew_is_noticed_by_what_it_refuses(
    gateway: Gateway, device: DeviceProcess
) -> None:
    gateway.deploy(COUNTER)
    gateway.wait_for(lambda: value_of(gateway, "1000/average"), "no output comes")
    gateway.request(coap.GET, "3303", OBSERVE=0)
    gateway.update_code = coap.NOT_FOUND
    gateway.refuses = True
    gateway.wait_registered(2)  # long before half of its lifetime has passed


def test_a_device_that_is_not_enrolled_tries_again(firmware: Path, tmp_path: Path, gateway: Gateway) -> None:
    gateway.registration_code = coap.FORBIDDEN
    with DeviceProcess(firmware, tmp_path / "flash", gateway) as device:
        gateway.wait_registered(2)
        assert "refuses b1_node1" in device.output()


def test_another_lifetime_is_told_at_once(gateway: Gateway, device: DeviceProcess) -> None:
    assert gateway.request(coap.PUT, "1/0/1", b"0").code == coap.BAD_REQUEST
    assert gateway.request(coap.PUT, "1/0/1", b"300").code == coap.CHANGED
    gateway.wait_for(lambda: ["lt=300"] in [query for _, _, query, _ in gateway.registrations], "no update comes")


def test_an_interrupt_ends_with_a_goodbye(gateway: Gateway, device: DeviceProcess) -> None:
    code = "def setup(service): pass\ndef on_quit(service): service.log('goodbye')"
    gateway.deploy(code)
    device.interrupt()
    gateway.wait_for(lambda: device.status is not None, "the device does not stop")
    assert device.status == 0
    assert gateway.registrations[-1][:2] == (coap.DELETE, ["rd", "5a"])
    assert device.output().splitlines()[-2:] == ["average: goodbye", "stopped"]


def test_a_reboot(gateway: Gateway, device: DeviceProcess) -> None:
    instance = gateway.deploy(COUNTER)
    assert gateway.execute("3/0/4") == coap.CHANGED
    gateway.wait_for(lambda: device.status is not None, "the device does not reboot")
    assert device.status == 3
    device.start()
    gateway.wait_registered(2)
    gateway.wait_phase(instance, "running")


def test_a_configuration_that_cannot_be_used(firmware: Path, tmp_path: Path, gateway: Gateway) -> None:
    for text, reason in (
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"gateway": "127.0.0.1:1"}', "endpoint is missing or wrong"),
        ('{"endpoint": 5, "gateway": "x"}', "endpoint is missing or wrong"),
        ('{"endpoint": "a", "gateway": "x:y"}', "host:port"),
        ('{"endpoint": "a", "gateway": "x", "sensors": [{"capability": "c", "driver": "none"}]}', "driver none"),
    ):
        device = DeviceProcess(firmware, tmp_path, gateway)
        (tmp_path / "device.json").write_text(text, encoding="utf-8")
        device.start()
        gateway.wait_for(lambda device=device: device.status is not None, "it starts all the same")
        assert device.status == 2
        assert reason in device.output().splitlines()[-1]
