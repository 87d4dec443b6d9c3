"""Puts one gateway together and runs it: devices below, Kubernetes above, outputs over HTTP beside.

It keeps nothing that it could not read again from the devices and from Kubernetes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import structlog

from fita.app.enrolment import Enrolment
from fita.app.settings import GatewaySettings
from fita.app.state import GatewayState, authority, gateway_lock, write_state
from fita.base.clock import utc_now
from fita.base.supervision import supervise
from fita.databus.http import DataBusServer
from fita.databus.metric import Figures, make_registry
from fita.databus.store import OutputStore, Workload
from fita.kube.client import KubernetesClient
from fita.kube.kubeconfig import load_kubeconfig
from fita.kubelet.kubelet import Kubelet
from fita.kubelet.node import node_name
from fita.lwm2m.server import Lwm2mServer
from fita.model.device import DeviceProfile, Endpoint
from fita.model.runtime import ServiceStatus, WorkloadId
from fita.oci.puller import ArtifactSource
from fita.oci.registry.credential import default_keychain

START_DEADLINE_S = 30.0
AWAY_LIMIT_S = 10.0
"""So long Kubernetes may be away before the gateway is not ready: a broken watch is resumed within a second, an
API server that is started again answers within seconds, and devices work on all the while."""
log = structlog.get_logger(__name__)

OnReady = Callable[[GatewayState], None]


class AdminAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How a person reaches the local cluster: what `fita status` and `fita kubectl` show and use."""

    kubeconfig: Path
    kubectl: Path


class Gateway:
    """The parts of one gateway and how they are joined. Runs nothing by itself: see `run_gateway`."""

    def __init__(self, settings: GatewaySettings, client: KubernetesClient, artifacts: ArtifactSource) -> None:
        self._settings = settings
        self.enrolment = Enrolment(
            client,
            is_open=settings.open_enrolment,
            node_name=lambda endpoint: node_name(settings.name, endpoint),
            clock=utc_now,
        )
        self.outputs = OutputStore(name_workload=self._name_workload)
        self.devices = Lwm2mServer(enrolled=self.enrolment.allows, on_output=self.outputs.update, clock=utc_now)
        self.registry = make_registry(self.outputs, gauges=self._gauges(), counters=self._counters())
        self.kubelet = Kubelet(
            client=client,
            runtime=self.devices,
            artifacts=artifacts,
            gateway_name=settings.name,
            registry=self.registry,
        )
        for listener in (self.kubelet, self.enrolment, _Forgetter(self.outputs, self.devices)):
            self.devices.add_listener(listener)
        self.http = DataBusServer(self.outputs, registry=self.registry, not_ready=self.not_ready)

    def not_ready(self) -> str | None:
        """Why devices cannot become nodes now, None when they can."""
        if not self.enrolment.ready:
            return "the Device resources have not been read from Kubernetes yet"
        if not self.kubelet.ready:
            return "the pods have not been read from Kubernetes yet"
        away_s = max(self.enrolment.away_s, self.kubelet.away_s)
        if away_s > AWAY_LIMIT_S:
            return f"Kubernetes has not answered for {away_s:.0f} s"
        return None

    async def run(self) -> None:
        """Run every part until cancelled. A part that fails is started again; the others go on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(supervise("devices", self.devices.run))
            group.create_task(supervise("enrolment", self.enrolment.watch))
            group.create_task(supervise("device status", self.enrolment.report))
            group.create_task(supervise("kubelet", self.kubelet.run))

    def _name_workload(self, workload: WorkloadId) -> Workload | None:
        found = self.kubelet.workload(workload)
        return None if found is None else Workload(namespace=found[0], pod=found[1], node=found[2])

    def _gauges(self) -> Figures:
        return {
            "fita_devices_registered": (
                "Devices whose registration is alive",
                lambda: self.devices.registered_devices,
            ),
        }

    def _counters(self) -> Figures:
        devices, coap = self.devices, self.devices.coap_counters
        return {
            "fita_registrations_total": (
                "Registrations of devices, without updates",
                lambda: devices.registrations_total,
            ),
            "fita_registrations_refused_total": (
                "Registrations and updates refused because the device is not enrolled",
                lambda: devices.refused_total,
            ),
            "fita_notifications_total": (
                "Representations received for observations",
                lambda: devices.notifications_total,
            ),
            "fita_coap_datagrams_total": ("Datagrams received", lambda: coap.received),
            "fita_coap_malformed_datagrams_total": (
                "Datagrams received that are no CoAP messages",
                lambda: coap.malformed,
            ),
            "fita_coap_duplicates_total": ("Messages received more than once", lambda: coap.duplicates),
            "fita_coap_retransmissions_total": ("Messages sent again", lambda: coap.retransmissions),
            "fita_coap_timeouts_total": ("Messages that no device acknowledged", lambda: coap.timeouts),
        }


class _Forgetter:
    """Drops the values of services and devices that are gone, so that nobody reads an old one as present."""

    def __init__(self, outputs: OutputStore, devices: Lwm2mServer) -> None:
        self._outputs = outputs
        self._devices = devices

    def device_joined(self, profile: DeviceProfile) -> None:
        self._prune(profile.endpoint)

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        self._outputs.retain(endpoint)

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        self._prune(endpoint)

    def _prune(self, endpoint: Endpoint) -> None:
        present = {service.workload for service in self._devices.services(endpoint).values()}
        self._outputs.retain(endpoint, present)


@asynccontextmanager
async def _opened(settings: GatewaySettings) -> AsyncIterator[tuple[Gateway, KubernetesClient]]:
    """A gateway with its connections to Kubernetes and to registries."""
    async with (
        KubernetesClient(load_kubeconfig(settings.kubeconfig)) as client,
        ArtifactSource(
            store=settings.data_dir / "store",
            cache=settings.data_dir / "cache",
            keychain=default_keychain(),
            plain_http=frozenset(registry.lower() for registry in settings.plain_http),
        ) as artifacts,
    ):
        yield Gateway(settings, client, artifacts), client


async def run_gateway(settings: GatewaySettings, *, on_ready: OnReady | None = None) -> None:
    """Run a gateway until cancelled. `on_ready` is called once, when devices that register become nodes.

    Raises `GatewayRunningError` when one runs on the data folder, `FitaError` when Kubernetes cannot be reached at
    the start or an address cannot be bound; later losses of either are waited out.
    """
    async with gateway_lock(settings.data_dir):
        await serve_gateway(settings, on_ready=on_ready)


async def serve_gateway(
    settings: GatewaySettings, *, on_ready: OnReady | None = None, admin: AdminAccess | None = None
) -> None:
    """`run_gateway` for who holds `gateway_lock` already."""
    async with _opened(settings) as (gateway, client):
        async with asyncio.timeout(START_DEADLINE_S):
            version = await client.version()
        coap_host, coap_port = await gateway.devices.open(settings.coap_host, settings.coap_port)
        try:
            http_host, http_port = await gateway.http.open(settings.http_host, settings.http_port)
            state = GatewayState(
                pid=os.getpid(),
                gateway_name=settings.name,
                coap_host=coap_host,
                coap_port=coap_port,
                http_url=f"http://{authority(http_host, http_port)}",
                open_enrolment=settings.open_enrolment,
                kubeconfig=_kubeconfig_shown(settings, admin),
                kubernetes_version=version,
                kubectl=str(admin.kubectl) if admin else "",
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(gateway.run())
                group.create_task(_announce(gateway, settings.data_dir, state, on_ready))
        finally:
            await gateway.http.close()
            await gateway.devices.close()


def _kubeconfig_shown(settings: GatewaySettings, admin: AdminAccess | None) -> str | None:
    path = admin.kubeconfig if admin else settings.kubeconfig
    return None if path is None else str(path)


async def _announce(gateway: Gateway, data_dir: Path, state: GatewayState, on_ready: OnReady | None) -> None:
    await gateway.enrolment.wait_ready()
    await gateway.kubelet.wait_ready()
    write_state(data_dir, state)
    log.info("gateway ready", coap=authority(state.coap_host, state.coap_port), http=state.http_url)
    if on_ready is not None:
        on_ready(state)
