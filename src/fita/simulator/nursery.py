"""The process that all emulated devices are forked from. A script: imports nothing of FITA.

It loads the interpreter once, so that a device costs 2 ms and 0.4 MB instead of 30 ms and 4 MB. It does as it is
told over a socket on a file descriptor, in JSON; when the other end closes, every device is killed and it ends.

=====================================================  ==========================================
told                                                   tells
=====================================================  ==========================================
``{"start": name, "arguments": [...]}``                ``{"started": name, "pid": n}``
with the file descriptor of the device's output
``{"signal": name, "number": n}``                      ``{"ended": name, "status": wait status}``
=====================================================  ==========================================
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence

Run = Callable[[Sequence[str]], int]

_MESSAGE_BYTES = 65536
_PR_SET_PDEATHSIG = 1
_FAILED = 70


class Nursery:
    """Forks devices that `run` the interpreter, signals them and reports their ends."""

    def __init__(self, control: socket.socket, run: Run) -> None:
        self._control = control
        self._run = run
        self._pids: dict[str, int] = {}
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self._wake_reader, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Do as told until the other end closes."""
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._wake_reader], [], [])
            if self._wake_reader in ready:
                os.read(self._wake_reader, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        if not data:
            return False
        order = json.loads(data)
        if "start" in order:
            self._start(order["start"], order["arguments"], descriptors[0])
        elif order["signal"] in self._pids:
            os.kill(self._pids[order["signal"]], order["number"])
        return True

    def _start(self, name: str, arguments: list[str], output: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = _FAILED
            try:
                self._become_device(parent, output)
                status = self._run(arguments)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(status & 255)
        os.close(output)
        self._pids[name] = pid
        self._tell({"started": name, "pid": pid})

    def _become_device(self, parent: int, output: int) -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_FAILED)  # it died before it could be told about
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._control.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, output + 1)

    def _reap(self) -> None:
        for name, pid in list(self._pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._pids[name]
                self._tell({"ended": name, "status": status})

    def _tell(self, message: dict[str, object]) -> None:
        self._control.send(json.dumps(message).encode())


_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux; elsewhere devices end with this process's socket only


def main() -> None:
    """Arguments: the folder of the interpreter's module, the control socket's file descriptor."""
    folder, descriptor = sys.argv[1:]
    sys.path.insert(0, folder)
    import micropython_run  # noqa: PLC0415 - found in the folder given

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is for who started us
    Nursery(socket.socket(fileno=int(descriptor)), micropython_run.run_main).serve()


if __name__ == "__main__":
    main()
