"""One deployment over object 9, from an order to a running service (docs/device-protocol.md).

State and result are read back after every step, because a device answers 2.04 to a package that it then rejects.

A service of the same workload with another digest is replaced so:

1. Our own runtime takes the update in the same instance. It keeps the old code in flash, starts the new one, and
   goes back to the old by itself if that does not start, whatever happens to the link meanwhile.
2. Any other device gets the new one beside the old; then the old is stopped and the new started. If it does not
   start it is removed and the old started again.
3. Where the device has no room for both, which it says after the download, the old one is removed and the new one
   sent again. From then on there is nothing to fall back to: this is the one case in which a failed update leaves
   the workload without a service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from fita.base.errors import FitaError
from fita.coap.errors import ExchangeError, ResponseError
from fita.lwm2m.device.operation import OPERATION_ERRORS
from fita.lwm2m.objects.software import SoftwareManagement, UpdateResult, UpdateState
from fita.lwm2m.service.failure import ROOM_REASONS, deploy_error, result_error, start_error
from fita.lwm2m.service.package import encode_package, takes_package
from fita.lwm2m.service.software import SoftwareManager
from fita.lwm2m.service.table import Claim, phase_of
from fita.model.device import DeviceProfile
from fita.model.runtime import DeployError, DeployReason, ServiceDeployment, ServicePhase, ServiceStatus

log = structlog.get_logger(__name__)

VERIFY_DEADLINE_S = 30.0
"""For checking a package that has arrived; hashing flash takes a device a second or two."""
INSTALL_DEADLINE_S = 60.0
START_DEADLINE_S = 60.0
"""For `setup`; what takes longer counts as not started."""
CLEAN_UP_DEADLINE_S = 30.0

Reached = Callable[[SoftwareManagement], bool]


class Deployment:
    """One order at one device, which must not be changed by anybody else meanwhile."""

    def __init__(self, software: SoftwareManager, order: ServiceDeployment, profile: DeviceProfile) -> None:
        self._software = software
        self._services = software.services
        self._order = order
        self._artifact = order.artifact
        self._profile = profile
        self._is_updated = False  # in the same instance: the device itself goes back if it does not start
        self._log = log.bind(endpoint=profile.endpoint, workload=order.workload)

    async def run(self) -> ServiceStatus:
        """Make the service run and return its status as read back. Raises `DeployError` and what operations raise.

        After a failure nothing of the new service stays behind, unless the device cannot be reached any more: then
        the next deployment finds what is there by workload and digest, and goes on or cleans up.
        """
        self._check_platform()
        await self._software.read_all()
        await self._software.clean()
        present, others = self._of_workload()
        if present is None:
            present, others = await self._install(others)
        await self._start(present, others)
        return self._services.status(present)

    def _check_platform(self) -> None:
        if not self._profile.platform.runs(self._artifact.platform):
            raise DeployError(
                DeployReason.UNSUPPORTED_PLATFORM,
                f"{self._artifact.manifest.name} was built for {self._artifact.platform},"
                f" the device {self._profile.endpoint} is {self._profile.platform}",
                retryable=False,
                hint="build the service for the device's platform",
            )

    def _of_workload(self) -> tuple[int | None, list[int]]:
        """The instance that is what was ordered, and all others of the workload, the running ones first."""
        running_first = sorted(
            (
                status
                for status in self._services.statuses().values()
                if status.workload == self._order.workload and status.phase is not ServicePhase.INSTALLING
            ),
            key=lambda status: (status.phase is not ServicePhase.RUNNING, -status.instance),
        )
        same = [status.instance for status in running_first if status.digest == self._artifact.digest]
        present = same[0] if same else None
        if not running_first:
            present = self._services.adoptable(self._artifact.manifest)
            if present is not None:
                self._services.claim(present, self._claim())
                self._log.info("service adopted", instance=present)
        return present, [status.instance for status in running_first if status.instance != present]

    def _claim(self) -> Claim:
        return Claim(self._order.workload, self._artifact.digest)

    # Installing

    async def _install(self, others: list[int]) -> tuple[int, list[int]]:
        """The instance with the new code, and the others of the workload that are still there."""
        package = encode_package(self._order)
        try:
            if others and self._takes_update(others[0]):
                await self._update(others[0], package)
                return others[0], others[1:]
            return await self._install_new(package), others
        except DeployError as error:
            if error.reason not in ROOM_REASONS or not others:
                raise
            self._log.info("no room for old and new", why=error.message)
        for other in others:
            await self._software.remove(other)
        return await self._install_new(package), []

    def _takes_update(self, instance: int) -> bool:
        found = self._services.get(instance)
        return found is not None and found.workload is not None and takes_package(self._artifact.platform)

    async def _update(self, instance: int, package: bytes) -> None:
        await self._software.observe(instance)
        await self._download(instance, package)
        self._is_updated = True
        await self._make_installed(instance)

    async def _install_new(self, package: bytes) -> int:
        instance = await self._software.create()
        self._services.claim(instance, self._claim())
        async with self._removed_on_failure(instance):
            await self._software.read_back(instance)
            await self._software.observe(instance)
            await self._download(instance, package)
            await self._make_installed(instance)
        return instance

    async def _download(self, instance: int, package: bytes) -> None:
        refusal: ResponseError | None = None
        try:
            await self._software.write_package(instance, package)
        except ResponseError as error:
            refusal = error  # the reason is in the update result

        def is_delivered(found: SoftwareManagement) -> bool:
            self._raise_for_result(found)
            if refusal is not None:
                raise deploy_error(refusal)
            return (found.update_state or 0) >= UpdateState.DELIVERED

        await self._reach(instance, is_delivered, VERIFY_DEADLINE_S, "verified the package")

    async def _make_installed(self, instance: int) -> None:
        await self._software.execute(instance, SoftwareManagement.install)

        def is_installed(found: SoftwareManagement) -> bool:
            self._raise_for_result(found)
            return found.update_state == UpdateState.INSTALLED

        await self._reach(instance, is_installed, INSTALL_DEADLINE_S, "installed the package")

    async def _reach(self, instance: int, reached: Reached, within_s: float, what: str) -> None:
        try:
            await self._software.until(instance, reached, within_s=within_s)
        except TimeoutError as error:
            raise DeployError(
                DeployReason.DEVICE_REFUSED,
                f"the device {self._profile.endpoint} has not {what} of {self._artifact.manifest.name}"
                f" within {within_s:.0f} s",
                retryable=True,
                hint="it may be busy; it is tried again",
            ) from error

    def _raise_for_result(self, found: SoftwareManagement) -> None:
        if self._is_updated and found.update_result == UpdateResult.INSTALLATION_FAILED:
            raise start_error(found, self._artifact, "the device has gone back to the version before")
        error = result_error(found, self._artifact, self._profile)
        if error is not None:
            raise error

    # Starting

    async def _start(self, present: int, others: list[int]) -> None:
        """Make `present` run in the place of `others`, and delete those."""
        found = self._services.get(present)
        if self._is_updated or found is None or phase_of(found) is not ServicePhase.RUNNING:
            stopped: list[int] = []
            try:
                for other in others:
                    if await self._stop(other):
                        stopped.append(other)
                await self._activate(present)
                await self._wait_running(present)
            except (DeployError, *OPERATION_ERRORS) as error:
                await self._fall_back(present, stopped, error)
                raise
        for other in others:
            await self._software.remove(other)

    async def _stop(self, instance: int) -> bool:
        """Stop a service; whether it was meant to run."""
        found = self._services.get(instance)
        if found is None or not found.activation_state:
            return False
        await self._software.execute(instance, SoftwareManagement.deactivate)
        return True

    async def _activate(self, instance: int) -> None:
        """Activate what is not; what has crashed is started at once instead of after the device's own delay."""
        found = self._services.get(instance)
        if found is not None and found.activation_state:
            if phase_of(found) is not ServicePhase.CRASHED or self._is_updated:
                return
            await self._software.execute(instance, SoftwareManagement.deactivate)
        await self._software.execute(instance, SoftwareManagement.activate)

    async def _wait_running(self, instance: int) -> None:
        found = self._services.get(instance)
        restarts = (found.restart_count or 0) if found is not None else 0
        try:
            await self._software.until(
                instance, lambda found: self._is_running(found, restarts), within_s=START_DEADLINE_S
            )
        except TimeoutError as error:
            found = self._services.get(instance) or SoftwareManagement(instance, {})
            raise start_error(
                found, self._artifact, f"its setup has not returned within {START_DEADLINE_S:.0f} s"
            ) from error

    def _is_running(self, found: SoftwareManagement, restarts: int) -> bool:
        if self._is_updated:
            self._raise_for_result(found)
        phase = phase_of(found)
        if phase is ServicePhase.CRASHED or (
            phase is ServicePhase.STARTING and (found.restart_count or 0) > restarts
        ):
            raise start_error(found, self._artifact, "it crashed in its setup")
        return phase is ServicePhase.RUNNING

    # Failing

    async def _fall_back(self, failed: int, stopped: list[int], error: FitaError) -> None:
        """Remove what did not start and start again what ran before; the device may have done so by itself."""
        if not _is_reachable(error):
            return
        async with self._tidying("went not back"):
            found = self._services.get(failed)
            if found is not None and found.digest in (None, self._artifact.digest):
                await self._software.remove(failed)
            if stopped:
                await self._software.execute(stopped[0], SoftwareManagement.activate)

    @asynccontextmanager
    async def _removed_on_failure(self, instance: int) -> AsyncIterator[None]:
        try:
            yield
        except (DeployError, *OPERATION_ERRORS) as error:
            if _is_reachable(error):
                async with self._tidying("instance left behind"):
                    await self._software.remove(instance)
            raise

    @asynccontextmanager
    async def _tidying(self, event: str) -> AsyncIterator[None]:
        """What is done after a failure must not hide it; what stays undone the next deployment finds."""
        try:
            async with asyncio.timeout(CLEAN_UP_DEADLINE_S):
                yield
        except (DeployError, *OPERATION_ERRORS, TimeoutError) as error:
            self._log.warning(event, why=str(error))


def _is_reachable(error: FitaError) -> bool:
    """Whether the device still answers, so that there is somebody to clean up with."""
    if isinstance(error, DeployError):
        return error.reason is not DeployReason.DEVICE_UNREACHABLE
    return not isinstance(error, ExchangeError)
