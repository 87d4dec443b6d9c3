"""`fita device enroll|list|revoke`: who may join, as `Device` resources of the cluster."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fita.cli.option import DataDirOption, JsonOption, KubeconfigOption, data_dir_of

if TYPE_CHECKING:
    from fita.kube.client import KubernetesClient

DEADLINE_S = 15.0
EndpointArgument = Annotated[str, typer.Argument(help="The device's LwM2M endpoint name.", metavar="ENDPOINT")]


def enroll(
    endpoint: EndpointArgument, kubeconfig: KubeconfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Let a device join: its registrations are accepted from now on."""

    async def work(client: KubernetesClient) -> None:
        from fita.app.device import enroll

        await enroll(client, endpoint)

    _with_cluster(work, kubeconfig, data_dir)
    sys.stdout.write(
        f"device {endpoint} may join\n"
        "One that was refused before tries again by itself, at the latest after 5 minutes.\n"
    )


def revoke(
    endpoint: EndpointArgument, kubeconfig: KubeconfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Keep a device out: it is refused at its next message. Its node stays until it is deleted."""

    async def work(client: KubernetesClient) -> None:
        from fita.app.device import revoke

        await revoke(client, endpoint)

    _with_cluster(work, kubeconfig, data_dir)
    sys.stdout.write(f"device {endpoint} may not join any more: it is refused at its next message\n")


def list_devices(
    kubeconfig: KubeconfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show the enrolled devices."""
    found: list[dict[str, Any]] = []

    async def work(client: KubernetesClient) -> None:
        from fita.kube.resource import DEVICES

        found.extend((await client.list(DEVICES)).items)

    _with_cluster(work, kubeconfig, data_dir)
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode({"items": found}).decode() + "\n")
        return
    _print_table(found)


def _print_table(devices: list[dict[str, Any]]) -> None:
    from fita.cli.table import print_table

    rows = []
    for device in devices:
        spec, status = device.get("spec", {}), device.get("status", {})
        rows.append(
            (
                spec.get("endpoint") or device["metadata"]["name"],
                "yes" if spec.get("enabled", True) else "no",
                "yes" if status.get("online") else "no",
                status.get("node", ""),
                status.get("lastSeenAt", ""),
            )
        )
    print_table(("ENDPOINT", "ENABLED", "ONLINE", "NODE", "LAST SEEN"), rows, empty="No devices are enrolled.")


def _with_cluster(
    work: Callable[[KubernetesClient], Awaitable[None]], kubeconfig: Path | None, data_dir: Path | None
) -> None:
    """Run `work` with a client of the cluster that was named, else of the running gateway's."""
    from fita.app.state import read_state
    from fita.kube.client import KubernetesClient
    from fita.kube.kubeconfig import load_kubeconfig
    from fita.model.wellknown import FIELD_MANAGER_CLI

    if kubeconfig is None:
        state = read_state(data_dir_of(data_dir))
        kubeconfig = Path(state.kubeconfig) if state is not None and state.kubeconfig else None

    async def main() -> None:
        access = load_kubeconfig(kubeconfig)
        async with (
            asyncio.timeout(DEADLINE_S),
            KubernetesClient(access, field_manager=FIELD_MANAGER_CLI) as client,
        ):
            await work(client)

    asyncio.run(main())
