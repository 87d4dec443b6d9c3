"""What the runtime takes of a device's memory, on the 64-bit port; a microcontroller needs about half."""

from __future__ import annotations

from pathlib import Path

import coap
from lockstep import AVERAGE, DeviceProcess, Gateway

KIB = 1024
AFTER_START_BYTES = 64 * KIB
WITH_TWO_SERVICES_BYTES = 78 * KIB
SMALLEST_HEAP_BYTES = 96 * KIB
CIRCLE = 32
"""Instances after which names, which are never freed, come again."""

OUTPUTS = [[key, 1, "lwm2m:3303/x/5700", "Cel"] for key in ("average", "lowest", "highest")]


def demo(name: str) -> str:
    return (AVERAGE / name / "main.py").read_text(encoding="utf-8")


def test_the_budget_of_128_kib(firmware: Path, tmp_path: Path) -> None:
    with Gateway() as gateway, DeviceProcess(firmware, tmp_path / "flash", gateway, signal="noise"):
        gateway.wait_registered()
        assert gateway.used_bytes() <= AFTER_START_BYTES
        gateway.deploy(demo("average"), id="uid-1/average")
        gateway.deploy(demo("average-v2"), id="uid-2/average", out=OUTPUTS)
        for path in ("3303", "9"):
            gateway.request(coap.GET, path, OBSERVE=0)
        gateway.wait_for(lambda: len(gateway.notifications) > 3, "no notifications come")
        assert gateway.read("9/1000/27512") == gateway.read("9/1001/27512") == "running"
        assert gateway.used_bytes() <= WITH_TWO_SERVICES_BYTES


def test_the_smallest_heap(firmware: Path, tmp_path: Path) -> None:
    with (
        Gateway() as gateway,
        DeviceProcess(firmware, tmp_path / "flash", gateway, heap_bytes=SMALLEST_HEAP_BYTES) as device,
    ):
        gateway.wait_registered()
        gateway.deploy(demo("average"), mem=4096)
        assert "out of memory" not in device.output()


def test_services_that_come_and_go_leave_nothing(firmware: Path, tmp_path: Path) -> None:
    with Gateway() as gateway, DeviceProcess(firmware, tmp_path / "flash", gateway):
        gateway.wait_registered()

        def cycle(count: int) -> int:
            for _ in range(count):
                instance = gateway.deploy(demo("average"))
                gateway.request(coap.DELETE, f"9/{instance}")
            return gateway.used_bytes()

        after_a_circle = cycle(CIRCLE)
        assert cycle(CIRCLE // 2) - after_a_circle <= KIB
