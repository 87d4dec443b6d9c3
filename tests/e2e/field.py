"""A field for end-to-end tests: a gateway process on the shared cluster, devices, and kubectl as the user."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from fita.app.output_client import OutputClient
from fita.app.state import GatewayState, read_state
from fita.base.resource import resource_folder
from fita.databus.store import Output
from fita.demo.errors import DemoError
from fita.demo.kubectl import Kubectl
from fita.demo.session import run_cli
from fita.simulator.fleet import DeviceSpec, Fleet

DEADLINE_S = 60.0
POLL_S = 0.1


class Gateway:
    """``fita gateway`` in a process of its own, with the gateway's own kubeconfig and a port that stays."""

    def __init__(self, data_dir: Path, *, kubeconfig: Path, name: str) -> None:
        self.data_dir = data_dir
        self.name = name
        self.coap_port = _free_udp_port()
        self._kubeconfig = kubeconfig
        self._process: asyncio.subprocess.Process | None = None

    @property
    def state(self) -> GatewayState:
        state = read_state(self.data_dir)
        assert state is not None, self.log
        return state

    @property
    def log(self) -> str:
        return (self.data_dir / "test.log").read_text(encoding="utf-8")

    async def start(self) -> None:
        """Return when devices that register become nodes."""
        self.data_dir.mkdir(exist_ok=True)
        with (self.data_dir / "test.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fita", "-v", "gateway", "--kubeconfig", str(self._kubeconfig),
                "--name", self.name, "--data-dir", str(self.data_dir), "--open-enrolment",
                "--coap-host", "127.0.0.1", "--coap-port", str(self.coap_port), "--http-port", "0",
                stdout=log, stderr=log,
            )  # fmt: skip
        await until(
            lambda: read_state(self.data_dir) is not None, what="the gateway is ready", log=lambda: self.log
        )

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            os.kill(self._process.pid, number)
        async with asyncio.timeout(DEADLINE_S):
            return await self._process.wait()


class Field:
    """One gateway, its devices and kubectl. Every wait has a deadline and says what it waited for."""

    def __init__(self, gateway: Gateway, kubectl: Kubectl, fleet: Fleet, folder: Path) -> None:
        self.gateway = gateway
        self.kubectl = kubectl
        self.fleet = fleet
        self.folder = folder

    def node(self, endpoint: str) -> str:
        return f"{self.gateway.name}-{endpoint.replace('_', '-')}"

    async def boot(self, endpoint: str, *, ready: bool = True, **settings: Any) -> None:
        """Start a device and wait until its node is Ready."""
        address = settings.pop("gateway", ("127.0.0.1", self.gateway.coap_port))
        settings.setdefault("capabilities", ("temperature_sensor",))
        settings.setdefault("lifetime_s", 20)
        spec = DeviceSpec(endpoint=endpoint, gateway=address, folder=self.folder / endpoint, **settings)
        await self.fleet.start(spec)
        if ready:
            await self.until_node_ready(endpoint)

    async def until_node_ready(self, endpoint: str, status: str = "True") -> None:
        await self.until(lambda: self._node_ready(endpoint), status, what=f"{endpoint} is Ready={status}")

    async def build(self, folder: Path) -> str:
        """Build a service into the gateway's store; its reference."""
        async with asyncio.timeout(DEADLINE_S):
            return (
                await run_cli("service", "build", str(folder), "--data-dir", str(self.gateway.data_dir))
            ).split()[0]

    async def write_service(self, name: str, code: str, *, version: int = 1, toml: str = "") -> str:
        """Write and build a service of that code; its reference."""
        folder = self.folder / f"{name}-{version}"
        folder.mkdir()
        (folder / "service.toml").write_text(f'name = "{name}"\nversion = {version}\n{toml}', encoding="utf-8")
        (folder / "main.py").write_text(code, encoding="utf-8")
        return await self.build(folder)

    async def run(self, *arguments: str) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return await self.kubectl.run(*arguments)

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.run("get", kind, name, "--output=json"))
        return found

    async def apply(self, manifest: str) -> None:
        path = self.folder / "manifest.yaml"
        path.write_text(manifest, encoding="utf-8")
        async with asyncio.timeout(DEADLINE_S):
            await self.kubectl.apply(path)

    async def run_pod(
        self, name: str, image: str, *, node: str = "", extra: str = "", container: str = ""
    ) -> None:
        """A bare pod on this gateway's devices, on `node` (an endpoint) when given."""
        pinned = f"\n    kubernetes.io/hostname: {self.node(node)}" if node else ""
        await self.apply(
            POD.format(
                name=name, image=image, gateway=self.gateway.name, pinned=pinned, extra=extra, container=container
            )
        )

    async def until_pod(self, name: str, expected: str) -> None:
        """Wait until `pod_state` of the pod is `expected`."""
        await self.until(lambda: self.pod_state(name), expected, what=f"pod {name}")

    async def pod_state(self, name: str) -> str:
        """Like kubectl's STATUS column: ``Running``, or the reason why not; ``gone``."""
        try:
            pod = await self.get("pod", name)
        except DemoError:
            return "gone"
        status = pod["status"]
        for container in status.get("containerStatuses", []):
            for state in container["state"].values():
                if reason := state.get("reason"):
                    return str(reason)
            if "running" in container["state"]:
                return "Running" if container["ready"] else "NotReady"
        return str(status.get("reason") or status.get("phase"))

    async def pods(self, selector: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(DEADLINE_S):
            return await self.kubectl.items("pods", f"--selector={selector}")

    async def events(self, name: str) -> str:
        return await self.run("get", "events", f"--field-selector=involvedObject.name={name}", "--output=wide")

    async def outputs(self) -> list[Output]:
        async with asyncio.timeout(DEADLINE_S):
            return await OutputClient(self.gateway.state.http_url).latest()

    async def metrics(self) -> dict[str, float]:
        """The gateway's metrics that have no labels."""
        async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as session:
            async with session.get(f"{self.gateway.state.http_url}/metrics") as response:
                lines = (await response.text()).splitlines()
        pairs = [line.split() for line in lines if not line.startswith("#") and "{" not in line]
        return {name: float(value) for name, value in pairs}

    async def until(self, read: Callable[[], Any], expected: object, *, what: str) -> None:
        """Poll the coroutine function `read` until it gives `expected`."""
        seen: object = None
        try:
            async with asyncio.timeout(DEADLINE_S * 2):
                while (seen := await read()) != expected:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(
                f"{what}: expected {expected!r}, is {seen!r}\n{self.gateway.log[-4000:]}"
            ) from None

    async def _node_ready(self, endpoint: str) -> str:
        try:
            node = await self.get("node", self.node(endpoint))
        except DemoError:
            return "absent"
        ready: dict[str, str] = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
        return ready.get("Ready", "unset")


POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  nodeSelector:
    fita.fhp.pt/gateway: {gateway}{pinned}
  tolerations: [{{key: fita.fhp.pt/type, value: far-edge, effect: NoSchedule}}]
  terminationGracePeriodSeconds: 5
  automountServiceAccountToken: false
  containers:
    - name: main
      image: {image}
      {container}
  {extra}
"""


def demo_service(name: str) -> Path:
    return resource_folder("demos") / "temperature" / name


async def until(condition: Callable[[], bool], *, what: str, log: Callable[[], str] = lambda: "") -> None:
    """Poll until `condition` holds."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}\n{log()[-4000:]}") from None


@asynccontextmanager
async def open_field(
    folder: Path, *, kubectl: Path, admin: Path, kubeconfig: Path, name: str
) -> AsyncIterator[Field]:
    """A field whose nodes and pods are gone at the end."""
    gateway = Gateway(folder / "gateway", kubeconfig=kubeconfig, name=name)
    await gateway.start()
    client = Kubectl(str(kubectl), str(admin))
    try:
        async with Fleet() as fleet:
            yield Field(gateway, client, fleet, folder)
    finally:
        await client.run("delete", "deployments,pods", "--all", "--force", "--grace-period=0", "--wait=true")
        await gateway.end(signal.SIGTERM)
        await client.run("delete", "nodes", f"--selector=fita.fhp.pt/gateway={name}")


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
