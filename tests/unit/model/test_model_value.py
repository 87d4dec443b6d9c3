from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fita.base.errors import ConfigurationError
from fita.model.platform import Platform, parse_platform
from fita.model.quantity import format_bytes, parse_bytes, parse_millicores, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("128Ki", 131072), ("0.5", Decimal("0.5")), ("1e3", 1000), ("250m", Decimal("0.25")), ("-2M", -2_000_000),
        (".5Gi", 2**29), ("1E", 10**18), ("1E2", 100), ("5.", 5), (7, 7), ("100n", Decimal("1e-7")),
    ],
)  # fmt: skip
def test_reads_quantities_as_kubernetes_does(text: str | int, number: int | Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "Ki", "1Kb", "1 Ki", "one", "1ki", "0x10", "1e", "--1", "1.2.3"])
def test_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a Kubernetes quantity"):
        parse_quantity(text)


def test_rounds_up_to_whole_units() -> None:
    assert parse_bytes("1500m") == 2
    assert parse_millicores("0.0001") == 1
    assert parse_millicores("2") == 2000


@given(st.integers(0, 2**60))
def test_bytes_survive_the_round_trip(count_bytes: int) -> None:
    assert parse_bytes(format_bytes(count_bytes)) == count_bytes


BOARD = Platform("micropython", "armv7em", "v6")


@pytest.mark.parametrize(
    ("artifact", "fits"),
    [
        ("micropython/any/v6", True), ("micropython/armv7em/v6", True), ("micropython/xtensawin/v6", False),
        ("micropython/any/v5", False), ("zephyr/arm/v7", False), ("linux/amd64", False),
    ],
)  # fmt: skip
def test_a_device_runs_what_was_built_for_it(artifact: str, fits: bool) -> None:
    assert BOARD.runs(parse_platform(artifact)) is fits


def test_a_platform_is_written_for_oci_and_for_kubernetes() -> None:
    zephyr = parse_platform("zephyr/arm/v7")
    assert str(zephyr) == "zephyr/arm/v7"
    assert zephyr.kubernetes_architecture == "arm-v7"


@pytest.mark.parametrize("text", ["", "linux", "a/b/c/d", "a//c", "/b"])
def test_refuses_what_is_no_platform(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a platform"):
        parse_platform(text)
