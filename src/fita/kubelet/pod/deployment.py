"""One attempt to bring a pod's service onto its device: pull, admit, resolve, send, read back.

Every step has its own deadline, and every failure leaves as `PodFailureError` with the reason that the pod's
status will name. What the API server refuses to answer (`KubeError`) is not the pod's failure and passes.
"""

from __future__ import annotations

import asyncio

import msgspec

from fita.base.errors import FitaError
from fita.kube.client import KubernetesClient
from fita.kube.errors import KubeError
from fita.kubelet.deadline import api_deadline
from fita.kubelet.device import Device
from fita.kubelet.errors import PodFailureError
from fita.kubelet.interfaces import DeviceRuntime
from fita.kubelet.metric import KubeletMetrics
from fita.kubelet.node import describe_node
from fita.kubelet.pod.admission import check_artifact, check_room, memory_limit, memory_need
from fita.kubelet.pod.environment import EnvironmentReader
from fita.kubelet.pod.event import PodEvents
from fita.kubelet.pod.failure import (
    Failure,
    deploy_failure,
    deploy_timeout,
    pull_failure,
    pull_timeout,
    unexpected_failure,
)
from fita.kubelet.pod.image import pull_policy, read_credentials
from fita.kubelet.pod.index import workload_of
from fita.model.device import DeviceProfile, DeviceStats
from fita.model.kubernetes import Pod
from fita.model.runtime import DeployError, ServiceDeployment, ServicePhase, ServiceStatus
from fita.model.service import ServiceArtifact
from fita.oci.errors import OciError
from fita.oci.puller import ArtifactSource

PULL_DEADLINE_S = 120.0
STATS_DEADLINE_S = 30.0
REMOVE_DEADLINE_S = 120.0
DEPLOY_DEADLINE_S = 240.0
"""For a deployment of no bytes: the device verifies, installs, and may be a minute in the service's setup. A
device that does not answer at all is given up much sooner by its protocol."""

DEPLOY_BYTES_PER_S = 2000
"""What the slowest link worth having carries; packages add to the deadline by their size."""

SLEEP_DEADLINE_S = 600.0
"""How long at most an order for a sleeping device waits for its next update, before it is given anew."""

ALIVE = frozenset({ServicePhase.RUNNING, ServicePhase.STARTING, ServicePhase.CRASHED})
"""Phases in which the device itself sees to it that the service runs."""


class Deployed(msgspec.Struct, frozen=True):
    """What an attempt has brought about. `fresh`: the service was not there before."""

    service: ServiceStatus
    artifact: ServiceArtifact
    fresh: bool


class Deployer:
    """Makes attempts. Remembers nothing."""

    def __init__(
        self,
        *,
        client: KubernetesClient,
        runtime: DeviceRuntime,
        artifacts: ArtifactSource,
        events: PodEvents,
        metrics: KubeletMetrics,
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._artifacts = artifacts
        self._events = events
        self._metrics = metrics

    async def attempt(
        self, pod: Pod, device: Device, profile: DeviceProfile, service: ServiceStatus | None
    ) -> Deployed:
        """Make the pod's image run on the device, where `service` is what runs for the pod now.

        Raises `PodFailureError` and `KubeError`. Nothing is sent to a device that has the service already.
        """
        started = asyncio.get_running_loop().time()
        artifact = await self._pull(pod, profile)
        _require(check_artifact(artifact, profile))
        if service is not None and service.digest == artifact.digest and service.phase in ALIVE:
            return Deployed(service, artifact, fresh=False)
        environment = await self._environment(pod, device, profile)
        await self._check_room(pod, artifact, profile, service)
        deployment = ServiceDeployment(
            workload=workload_of(pod),
            artifact=artifact,
            environment=environment,
            memory_limit_bytes=memory_limit(pod.spec.containers[0]),
        )
        status = await self._deploy(profile, deployment)
        self._metrics.deploy.observe(asyncio.get_running_loop().time() - started)
        return Deployed(status, artifact, fresh=True)

    async def remove(self, device: Device, instance: int) -> None:
        """Take a service off the device. Raises `PodFailureError`."""
        try:
            async with asyncio.timeout(REMOVE_DEADLINE_S + _sleep_s(device.profile)):
                await self._runtime.remove(device.endpoint, instance)
        except DeployError as error:
            raise PodFailureError(deploy_failure(error)) from error
        except TimeoutError as error:
            raise PodFailureError(deploy_timeout("the removal", REMOVE_DEADLINE_S)) from error

    async def _pull(self, pod: Pod, profile: DeviceProfile) -> ServiceArtifact:
        container = pod.spec.containers[0]
        policy = pull_policy(container)
        async with api_deadline():
            keychain, problems = await read_credentials(self._client, pod)
        for problem in problems:
            self._events.warn(pod, "FailedToRetrieveImagePullSecret", problem)
        try:
            async with asyncio.timeout(PULL_DEADLINE_S):
                artifact = await self._artifacts.pull(
                    container.image, profile.platform, pull_policy=policy, credentials=keychain
                )
        except OciError as error:
            raise PodFailureError(pull_failure(error, pull_policy=policy)) from error
        except TimeoutError as error:
            raise PodFailureError(pull_timeout(container.image, PULL_DEADLINE_S)) from error
        except KubeError:
            raise
        except FitaError as error:
            raise PodFailureError(unexpected_failure(error)) from error
        size = len(artifact.binary)
        self._events.note(
            pod,
            "Pulled",
            f'Successfully pulled image "{container.image}" ({artifact.digest}), {size} bytes of code',
        )
        return artifact

    async def _environment(self, pod: Pod, device: Device, profile: DeviceProfile) -> dict[str, str]:
        allocatable = describe_node(profile, gateway_name="").status.allocatable
        reader = EnvironmentReader(
            self._client,
            pod,
            pod.spec.containers[0],
            address_ip=device.address_ip,
            allocatable=allocatable,
        )
        async with api_deadline():
            return await reader.read()

    async def _check_room(
        self, pod: Pod, artifact: ServiceArtifact, profile: DeviceProfile, replaced: ServiceStatus | None
    ) -> None:
        stats = DeviceStats() if replaced is not None else await self._stats(profile)
        failure = check_room(
            artifact,
            need_bytes=memory_need(pod.spec.containers[0], artifact),
            profile=profile,
            stats=stats,
            services=self._runtime.services(profile.endpoint).values(),
            replaced=replaced,
        )
        _require(failure)

    async def _stats(self, profile: DeviceProfile) -> DeviceStats:
        try:
            async with asyncio.timeout(STATS_DEADLINE_S + _sleep_s(profile)):
                return await self._runtime.stats(profile.endpoint)
        except DeployError as error:
            raise PodFailureError(deploy_failure(error)) from error
        except TimeoutError as error:
            raise PodFailureError(deploy_timeout("the answer what is free", STATS_DEADLINE_S)) from error

    async def _deploy(self, profile: DeviceProfile, deployment: ServiceDeployment) -> ServiceStatus:
        size_s = len(deployment.artifact.binary) / DEPLOY_BYTES_PER_S
        deadline_s = DEPLOY_DEADLINE_S + size_s + _sleep_s(profile)
        try:
            async with asyncio.timeout(deadline_s):
                return await self._runtime.deploy(profile.endpoint, deployment)
        except DeployError as error:
            raise PodFailureError(deploy_failure(error)) from error
        except TimeoutError as error:
            raise PodFailureError(deploy_timeout("the deployment", deadline_s)) from error


def _sleep_s(profile: DeviceProfile | None) -> float:
    """How much longer an answer may take because the device sleeps."""
    return min(profile.lifetime_s, SLEEP_DEADLINE_S) if profile is not None and profile.queue_mode else 0.0


def _require(failure: Failure | None) -> None:
    if failure is not None:
        raise PodFailureError(failure)
