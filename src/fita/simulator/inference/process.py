"""One device that runs a segment: a MicroPython process with a heap limit, spoken to over pipes."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from fita.simulator.errors import SegmentProcessError
from fita.simulator.firmware import INTERPRETER_MODULE, interpreter_folder

DEADLINE_S = 60.0
"""For one order; a run of a large model by interpreted kernels takes a second."""
_LINE_MAX_BYTES = 512
_SHOWN_BYTES = 200
_RUN_CODE = f"""
import sys
sys.path.insert(0, sys.argv.pop(1))
from {INTERPRETER_MODULE} import run_main
run_main(sys.argv)
"""


def _own_interpreter() -> list[str]:
    return [sys.executable, "-c", _RUN_CODE, str(interpreter_folder())]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device has said to one order: its numbers, and the bytes that came with them."""

    numbers: tuple[int, ...]
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class _Awaited:
    order: str
    word: str
    size_bytes: int


class SegmentProcess:
    """A device. Raises `SegmentProcessError` when it refuses an order, ends, or does not answer in time.

    Orders are asked one by one, or posted in a row and answered in that order while others are attended to:
    `fileno` is readable when there is something to `receive`. `interpreter` is the command that starts a
    MicroPython, by default the one of this machine's architecture.
    """

    def __init__(self, name: str, firmware: Path, heap_bytes: int, *, interpreter: Sequence[str] = ()) -> None:
        self.name = name
        self.processor: int | None = None
        """Of this machine, which it has been told to keep to."""
        self._left = b""
        self._awaited: deque[_Awaited] = deque()
        self._deadline = 0.0
        self._process = subprocess.Popen(
            [*(interpreter or _own_interpreter()), "-X", f"heapsize={heap_bytes}", "-m", "segment_main"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "MICROPYPATH": str(firmware)}, bufsize=0,
        )  # fmt: skip
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)

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
        edges, promised, native = self._ask(f"load {slot} {path}", "loaded").numbers
        return Loaded(edges=edges, promised_bytes=promised, native=bool(native))

    def feed(self, slot: int, edge: int, data: bytes) -> None:
        """The bytes of an input edge."""
        self.post_feed(slot, edge, data)
        self._wait()

    def run(self, slot: int) -> tuple[int, int]:
        """Microseconds taken and heap bytes allocated meanwhile."""
        self.post_run(slot)
        taken_us, allocated_bytes = self._wait().numbers
        return taken_us, allocated_bytes

    def take(self, slot: int, edge: int, size_bytes: int) -> bytes:
        """The bytes of an output edge."""
        self.post_take(slot, edge, size_bytes)
        return self._wait().data

    def heap(self) -> Heap:
        peak, free, runtime = self._ask("heap", "heap").numbers
        return Heap(peak_bytes=peak, free_bytes=free, runtime_bytes=runtime)

    def post_feed(self, slot: int, edge: int, data: bytes) -> None:
        """As `feed`. Only for a device that has no run before it, whose full pipe would stop this process."""
        self._post(f"feed {slot} {edge}", "fed", data=data)

    def post_run(self, slot: int) -> None:
        """As `run`."""
        self._post(f"run {slot}", "ran")

    def post_take(self, slot: int, edge: int, size_bytes: int) -> None:
        """As `take`."""
        self._post(f"take {slot} {edge}", "taken", size_bytes=size_bytes)

    def frame(self, slot: int, data: bytes, size_bytes: int) -> Answer:
        """All inputs in, run, all outputs of so many bytes out, in the order of the edges: the fastest way."""
        self.post_frame(slot, data, size_bytes)
        return self._wait()

    def post_frame(self, slot: int, data: bytes, size_bytes: int) -> None:
        """As `frame`."""
        self._post(f"frame {slot}", "ran", data=data, size_bytes=size_bytes)

    def fileno(self) -> int:
        """Of the pipe that answers come through."""
        return self._pipe(self._process.stdout).fileno()

    @property
    def pid(self) -> int:
        """Of the interpreter."""
        return self._process.pid

    @property
    def owed(self) -> int:
        """Orders that have been posted and not been answered."""
        return len(self._awaited)

    @property
    def deadline(self) -> float:
        """Until when, on the monotonic clock, the orders posted so far must have been answered."""
        return self._deadline

    def receive(self) -> list[Answer]:
        """Answers that are whole, after one look into the pipe, which waits for the deadline when it is empty."""
        if not select.select([self.fileno()], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            raise self._silent()
        data = os.read(self.fileno(), 65536)
        if not data:
            raise self._ended()
        self._left += data
        return list(self._answers())

    def _silent(self) -> SegmentProcessError:
        return SegmentProcessError(self.name, f"has not answered for {DEADLINE_S:.0f} s")

    def _ask(self, order: str, wanted: str) -> Answer:
        self._post(order, wanted)
        return self._wait()

    def _post(self, order: str, wanted: str, *, data: bytes = b"", size_bytes: int = 0) -> None:
        self._awaited.append(_Awaited(order.partition(" ")[0], wanted, size_bytes))
        self._deadline = time.monotonic() + DEADLINE_S
        self._write(order.encode() + b"\n" + data)

    def _wait(self) -> Answer:
        """The last answer of all that are due."""
        answers: list[Answer] = []
        while self._awaited:
            answers += self.receive()
        return answers[-1]

    def _answers(self) -> Iterator[Answer]:
        while self._awaited:
            awaited = self._awaited[0]
            line, newline, rest = self._left.partition(b"\n")
            if not newline and len(line) <= _LINE_MAX_BYTES:
                return
            word, _, numbers = line.decode(errors="replace").partition(" ")
            if word != awaited.word or not newline:
                self._awaited.popleft()
                self._left = rest
                said = line[:_SHOWN_BYTES].decode(errors="replace")
                raise SegmentProcessError(self.name, f"answers {awaited.order!r} with {said!r}")
            if len(rest) < awaited.size_bytes:
                return
            self._awaited.popleft()
            data, self._left = rest[: awaited.size_bytes], rest[awaited.size_bytes :]
            yield Answer(numbers=tuple(int(number) for number in numbers.split()), data=data)

    def _write(self, data: bytes) -> None:
        pipe = self._pipe(self._process.stdin)
        left = memoryview(data)
        try:
            while left:
                left = left[pipe.write(left) or 0 :]
                if left and not select.select([], [pipe], [], max(0.0, self._deadline - time.monotonic()))[1]:
                    raise self._silent()
        except BrokenPipeError as error:
            raise self._ended() from error

    def _ended(self) -> SegmentProcessError:
        self._process.kill()
        said = self._pipe(self._process.stderr).read().decode(errors="replace").strip().splitlines()
        return SegmentProcessError(self.name, "has ended" + (f": {said[-1]}" if said else ""))

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:  # never: all three are asked for
            raise ValueError("a process without pipes")
        return pipe
