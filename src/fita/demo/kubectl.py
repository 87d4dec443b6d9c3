"""kubectl as a user calls it: one process for each command, its errors in its own words."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from fita.demo.errors import DemoError


class Kubectl:
    """Runs the kubectl at `program` with `kubeconfig`. The caller owns every deadline."""

    def __init__(self, program: str, kubeconfig: str) -> None:
        self._program = program
        self._environment = {**os.environ, "KUBECONFIG": kubeconfig}

    async def run(self, *arguments: str) -> str:
        """What ``kubectl ARGUMENTS`` prints. Raises `DemoError` with its message when it fails."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise DemoError(f"kubectl {' '.join(arguments)}: {err.decode().strip()}")
        return out.decode()

    async def items(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """The objects that ``kubectl get KIND ARGUMENTS`` shows."""
        found = msgspec.json.decode(await self.run("get", kind, *arguments, "--output=json"))
        return list(found["items"])

    async def apply(self, path: Path) -> None:
        """``kubectl apply -f PATH``."""
        await self.run("apply", "--filename", str(path))

    async def rollout(self, workload: str) -> None:
        """Return once the roll-out of `workload` (like ``deployment/average``) is complete."""
        await self.run("rollout", "status", workload)
