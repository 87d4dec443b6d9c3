"""From measured times to speeds: known costs are found again, none is negative, and sums come out right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.tinyml.operator import OperatorClass
from fita.tinyml.plan.fit import CarryTime, OperatorTime, fit_carriage, fit_operators

NAMES = (OperatorClass.CONV, OperatorClass.DENSE, OperatorClass.POOL, OperatorClass.OUTPUT)
costs = st.floats(0.01, 100.0)


def taken_ns(
    units: dict[OperatorClass, int], operators: int, ns: dict[OperatorClass, float], each: float
) -> float:
    return sum(ns[name] * count for name, count in units.items()) + operators * each


def random_units(random: np.random.Generator) -> dict[OperatorClass, int]:
    names = random.choice(len(NAMES), size=random.integers(1, 3), replace=False)
    return {NAMES[int(name)]: int(random.integers(100, 100_000)) for name in names}


@settings(max_examples=60, deadline=None)
@given(ns=st.fixed_dictionaries(dict.fromkeys(NAMES, costs)), each=st.floats(1.0, 10_000.0), seed=st.integers(0))
def test_known_costs_are_found_again(ns: dict[OperatorClass, float], each: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    units = [{name: 1000 * scale} for name in NAMES for scale in (1, 7)]
    units += [random_units(random) for _ in range(10)]
    times = [
        OperatorTime(units=some, operators=1 + at % 4, taken_ns=taken_ns(some, 1 + at % 4, ns, each))
        for at, some in enumerate(units)
    ]
    found, operator_ns = fit_operators(times)
    assert found == pytest.approx(ns, rel=1e-3)
    assert operator_ns == pytest.approx(each, rel=1e-3, abs=1e-2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0), noise=st.floats(0.0, 0.5))
def test_noise_makes_no_cost_negative_and_keeps_the_sum(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    ns = {name: float(random.uniform(0.1, 20)) for name in NAMES}
    times = []
    for _ in range(40):
        units = random_units(random)
        exact = taken_ns(units, 1, ns, 500.0)
        times.append(
            OperatorTime(units=units, operators=1, taken_ns=exact * float(random.uniform(1 - noise, 1 + noise)))
        )
    found, operator_ns = fit_operators(times)
    assert all(cost >= 0 for cost in (*found.values(), operator_ns))
    ratios = [time.taken_ns / taken_ns(dict(time.units), 1, found, operator_ns) for time in times]
    assert float(np.mean(ratios)) == pytest.approx(1.0, abs=0.02)


def test_a_cost_that_would_be_negative_is_none() -> None:
    """More outputs took less time: that is noise, not a gift."""
    times = [
        OperatorTime(units={OperatorClass.CONV: 1000, OperatorClass.OUTPUT: outputs}, operators=1, taken_ns=taken)
        for outputs, taken in ((10, 2000.0), (20, 1900.0), (40, 1800.0))
    ]
    found, _ = fit_operators(times)
    assert found[OperatorClass.OUTPUT] == 0.0


@given(segment=st.floats(1e3, 1e6), message=st.floats(1e3, 1e6), byte=st.floats(0.1, 100))
@settings(max_examples=40, deadline=None)
def test_what_carrying_costs_is_found_again(segment: float, message: float, byte: float) -> None:
    times = [
        CarryTime(
            segments=parts,
            messages=parts + 1,
            size_bytes=(parts + 1) * size,
            taken_ns=parts * segment + (parts + 1) * message + (parts + 1) * size * byte,
        )
        for parts in (1, 2, 4)
        for size in (256, 4096, 16384)
    ]
    found = fit_carriage(times)
    for time in times:
        fitted = (
            found.segment_ns * time.segments + found.message_ns * time.messages + found.byte_ns * time.size_bytes
        )
        assert fitted == pytest.approx(time.taken_ns, rel=1e-3)
    assert found.byte_ns == pytest.approx(byte, rel=1e-2)


@pytest.mark.parametrize("taken", [0.0, -1.0])
def test_a_time_that_is_none_is_refused(taken: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_operators([OperatorTime(units={OperatorClass.CONV: 1}, operators=1, taken_ns=taken)])


def test_no_times_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_operators([])
