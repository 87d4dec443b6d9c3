"""The process of the control plane: started, waited for until it is ready, ended in order, and its end explained.

It holds the folder's lock together with us, and it ends when its standard input does: however we end, it goes too,
and the folder is free only when it has gone. This module restarts nothing.
"""

from __future__ import annotations

import asyncio
import os
import ssl

import aiohttp

from fita.base.disk import DiskFullError
from fita.localcluster.build.binary import ControlPlaneBinary
from fita.localcluster.errors import ControlPlaneError, LocalClusterError, PortInUseError
from fita.localcluster.folder import DataFolder
from fita.localcluster.log import LogFile

POLL_S = 0.05
PROBE_DEADLINE_S = 2.0
READY_DEADLINE_S = 120.0
"""3 s are usual; a slow machine with a large database may need a minute."""
STOP_DEADLINE_S = 25.0
"""The program itself gives up its orderly stop after 20 s."""

BIND_ADDRESS = "127.0.0.1"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
"""The first address of the range is the Service kubernetes' own."""


class ControlPlaneProcess:
    """One run of the control plane on `folder`, whose lock is the open file `lock_fd`."""

    def __init__(self, binary: ControlPlaneBinary, folder: DataFolder, *, port: int, lock_fd: int) -> None:
        self.port = port
        self._binary = binary
        self._folder = folder
        self._lock_fd = lock_fd
        self._log = LogFile(folder.log)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def url(self) -> str:
        return f"https://{BIND_ADDRESS}:{self.port}"

    async def start(self) -> None:
        """Start the program; it is not ready yet. Raises `ControlPlaneError` when it cannot be run at all."""
        self._log.shorten()
        log_fd = self._log.open()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments(),
                stdin=asyncio.subprocess.PIPE,
                stdout=log_fd,
                stderr=log_fd,
                pass_fds=(self._lock_fd,),
                cwd=self._folder.path,
                umask=0o077,
                start_new_session=True,  # an interrupt from the keyboard is for us: we stop it last
            )
        except OSError as error:
            reason = f"{self._binary.program} cannot be run: {error.strerror}"
            raise ControlPlaneError(reason, log=self._log.path) from error
        finally:
            os.close(log_fd)

    async def wait_ready(self, authority: bytes) -> None:
        """Return when it takes requests; `authority` is the PEM of who signed its certificate.

        Raises what `failure` names when it ends before, `ControlPlaneError` after `READY_DEADLINE_S`.
        """
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority.decode("ascii")))
        timeout = aiohttp.ClientTimeout(total=PROBE_DEADLINE_S)
        reason = "it was not asked"
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                    while reason := await _probe(session, f"{self.url}/readyz"):
                        if self.ended:
                            raise self.failure()
                        await asyncio.sleep(POLL_S)
        except TimeoutError:
            message = f"it is not ready after {READY_DEADLINE_S:g} s: {reason}"
            raise ControlPlaneError(message, log=self._log.path) from None

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    async def wait_ended(self) -> LocalClusterError | DiskFullError:
        """Return when the process has ended by itself, with the reason."""
        if self._process is not None:
            await self._process.wait()
        return self.failure()

    def failure(self) -> LocalClusterError | DiskFullError:
        """Why the process ended, read from its log."""
        log = "\n".join(self._log.tail())
        if "address already in use" in log:
            return PortInUseError(BIND_ADDRESS, self.port)
        if "no space left on device" in log or "disk quota exceeded" in log:
            return DiskFullError(self._folder.path)
        returncode = self._process.returncode if self._process else None
        if returncode is not None and returncode < 0:
            how, said = f"by signal {-returncode}", self._log.telling_line(only_fatal=True)
        else:
            how, said = f"with status {returncode}", self._log.telling_line()
        return ControlPlaneError(f"it ended {how}" + (f": {said}" if said else ""), log=self._log.path)

    def shorten_log(self) -> None:
        """Keep the log of a long run small."""
        self._log.shorten()

    async def stop(self) -> None:
        """End it in order, or by force when it takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            process.terminate()
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _arguments(self) -> list[str]:
        return [
            str(self._binary.program),
            f"--data-dir={self._folder.path}",
            f"--bind-address={BIND_ADDRESS}",
            f"--port={self.port}",
            f"--service-cidr={SERVICE_CIDR}",
            "--until-stdin-closes",
        ]


async def _probe(session: aiohttp.ClientSession, url: str) -> str:
    """Empty when the server is ready, else why not."""
    try:
        async with session.get(url) as response:
            return "" if response.status == 200 else f"status {response.status}: {(await response.text())[-200:]}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__
