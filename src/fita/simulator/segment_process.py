"""One device that runs a segment: a MicroPython process with a heap limit, spoken to over pipes."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fita.simulator.errors import SegmentProcessError
from fita.simulator.firmware import INTERPRETER_MODULE, interpreter_folder

DEADLINE_S = 60.0
"""For one order; a run of a large model by interpreted kernels takes a second."""
_LINE_MAX_BYTES = 512
_RUN_CODE = f"""
import sys
sys.path.insert(0, sys.argv.pop(1))
from {INTERPRETER_MODULE} import run_main
run_main(sys.argv)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a device says about a segment that it has loaded: promised heap, and whether its kernels are native."""

    edges: int
    promised_bytes: int
    native: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """Most bytes that segments have had alive, bytes that are free now, and what the runtime itself takes."""

    peak_bytes: int
    free_bytes: int
    runtime_bytes: int


class SegmentProcess:
    """A device. Raises `SegmentProcessError` when it refuses an order, ends, or does not answer in time."""

    def __init__(self, name: str, firmware: Path, heap_bytes: int) -> None:
        self.name = name
        self._left = b""
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", _RUN_CODE, str(interpreter_folder()),
                "-X", f"heapsize={heap_bytes}", "-m", "segment_main",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "MICROPYPATH": str(firmware)}, bufsize=0,
        )  # fmt: skip

    def __enter__(self) -> SegmentProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def load(self, slot: int, path: Path) -> Loaded:
        """Load a segment file under a number of its own; one loaded before under that number goes."""
        edges, promised, native = self._ask(f"load {slot} {path}", "loaded")
        return Loaded(edges=edges, promised_bytes=promised, native=bool(native))

    def feed(self, slot: int, edge: int, data: bytes) -> None:
        """The bytes of an input edge."""
        self._ask(f"feed {slot} {edge}", "fed", data)

    def run(self, slot: int) -> tuple[int, int]:
        """Microseconds taken and heap bytes allocated meanwhile."""
        taken_us, allocated_bytes = self._ask(f"run {slot}", "ran")
        return taken_us, allocated_bytes

    def take(self, slot: int, edge: int, size_bytes: int) -> bytes:
        """The bytes of an output edge."""
        self._ask(f"take {slot} {edge}", "taken")
        return self._read(size_bytes, time.monotonic() + DEADLINE_S)

    def heap(self) -> Heap:
        peak, free, runtime = self._ask("heap", "heap")
        return Heap(peak_bytes=peak, free_bytes=free, runtime_bytes=runtime)

    def _ask(self, order: str, wanted: str, data: bytes = b"") -> list[int]:
        self._write(order.encode() + b"\n" + data)
        line = self._line(time.monotonic() + DEADLINE_S)
        word, _, rest = line.partition(" ")
        if word != wanted:
            raise SegmentProcessError(self.name, f"answers {order.partition(' ')[0]!r} with {line!r}")
        return [int(number) for number in rest.split()]

    def _write(self, data: bytes) -> None:
        pipe = self._process.stdin
        try:
            while pipe is not None and data:
                data = data[pipe.write(data) or 0 :]
        except BrokenPipeError as error:
            raise self._ended() from error

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._left:
            if len(self._left) > _LINE_MAX_BYTES:
                raise SegmentProcessError(self.name, f"answers {self._left[:80]!r}")
            self._receive(deadline)
        line, _, self._left = self._left.partition(b"\n")
        return line.decode(errors="replace")

    def _read(self, size_bytes: int, deadline: float) -> bytes:
        while len(self._left) < size_bytes:
            self._receive(deadline)
        data, self._left = self._left[:size_bytes], self._left[size_bytes:]
        return data

    def _receive(self, deadline: float) -> None:
        pipe = self._process.stdout
        if pipe is None or not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise SegmentProcessError(self.name, f"has not answered for {DEADLINE_S:.0f} s")
        data = os.read(pipe.fileno(), 65536)
        if not data:
            raise self._ended()
        self._left += data

    def _ended(self) -> SegmentProcessError:
        self._process.kill()
        pipe = self._process.stderr
        said = pipe.read().decode(errors="replace").strip().splitlines() if pipe is not None else []
        return SegmentProcessError(self.name, "has ended" + (f": {said[-1]}" if said else ""))
