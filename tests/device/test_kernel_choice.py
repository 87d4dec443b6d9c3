"""Which kernel a record gets where the port has both, on MicroPython, with a clock that the kernels move."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from kernel_kind import KINDS

CHOOSE = """
import sys
import kernel

clock = 0
runs = []

def taking(name, times):
    def run(table, at, arena, constants):
        global clock
        runs.append(name)
        clock += times[min(runs.count(name), len(times)) - 1]
    return run

def choose(native, viper, records=1):
    runs.clear()
    both = {"native": taking("native", native), "viper": taking("viper", viper)}
    kernel.KERNELS[1], kernel._others[1] = both["native"], both["viper"]
    for _ in range(records):
        kernel.chosen(None, 0, None, None, 1)
    (found,) = [name for name in both if both[name] is kernel.KERNELS[1]]
    print(found, *runs)

kernel.ticks_us = lambda: clock
kernel.ticks_diff = lambda end, start: end - start
for case in eval(sys.argv[1]):
    choose(*case)
"""
CASES = {
    "native is faster": (((500,), (600,)), "native: native viper"),
    "as fast": (((500,), (500,)), "native: native viper"),
    "viper is faster": (((500,), (300,)), "viper: native viper native"),
    "native was interrupted": (((5000, 250), (300,)), "native: native viper native"),
    "too short to tell": (((49,), (1,)), "native: native"),
    "short, then long enough": (((49, 400, 400), (300,), 3), "viper: native native viper native"),
    "measured once": (((500,), (600,), 3), "native: native viper"),
}


@pytest.mark.parametrize("name", ["viper", "viper on ARM"])
def test_the_faster_kernel_is_chosen_once(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.compile(tmp_path)
    (tmp_path / "choose.py").write_text(CHOOSE, encoding="ascii")
    done = subprocess.run(
        [*kind.command(), "choose.py", str([case for case, _ in CASES.values()])],
        cwd=tmp_path, env={**os.environ, "MICROPYPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = [line.replace(" ", ": ", 1) for line in done.stdout.splitlines()]
    assert dict(zip(CASES, found, strict=True)) == {name: wanted for name, (_, wanted) in CASES.items()}, (
        done.stderr
    )


def test_without_native_code_viper_runs_unmeasured(tmp_path: Path) -> None:
    kind = KINDS["viper"]
    kind.compile(tmp_path)
    script = ("import kernel", "print(kernel.NATIVE, kernel.chosen(None, 0, None, None, 1) is kernel.convolution)")
    (tmp_path / "plain.py").write_text("\n".join(script), encoding="ascii")
    done = subprocess.run(
        [*kind.command(), "plain.py"], cwd=tmp_path, env={**os.environ, "MICROPYPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "False True\n", done.stderr
