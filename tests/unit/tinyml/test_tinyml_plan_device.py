"""Devices as a text: what they become, and what is said of a text that is none."""

from __future__ import annotations

import pytest

from fita.base.errors import ConfigurationError
from fita.tinyml.plan.device import Tier, parse_devices, parse_size


def test_sizes_names_tiers_and_counts() -> None:
    devices = parse_devices("512k, lamp=256K*2, gate=1G@edge")
    assert [device.name for device in devices] == ["device1", "lamp-1", "lamp-2", "gate"]
    assert [device.ram_bytes >> 10 for device in devices] == [512, 256, 256, 1 << 20]
    assert devices[-1].tier is Tier.EDGE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("512", "'512' has no unit"),
        ("128k,", "'' is empty"),
        ("128q", "'128q' is no device"),
        ("128k@moon", "'128k@moon' names no tier"),
        ("0k", "without memory"),
        ("128k*0", "none at all"),
        ("128k*1000", "1000 devices are too many"),
        ("128k*256,64k", "257 devices are too many"),
        ("a=128k,b=64k,a=128k", "2 devices are called 'a'"),
    ],
)
def test_each_fault_has_its_own_words(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_devices(text)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "0", "0k", "512", "1M,2M", "1M*2", "-1k"])
def test_a_size_is_one_number_with_a_unit(text: str) -> None:
    assert parse_size(" 2M ") == 2 * 1024 * 1024
    with pytest.raises(ConfigurationError, match="is no size") as caught:
        parse_size(text)
    assert "1M" in caught.value.hint
