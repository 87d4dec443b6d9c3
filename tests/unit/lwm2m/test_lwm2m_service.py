from __future__ import annotations

import asyncio

import pytest

from fita.lwm2m.codec.content import Values
from fita.lwm2m.device.worker import MAX_WAITING, Worker
from fita.lwm2m.errors import DeviceBusyError, SessionClosedError
from fita.lwm2m.path import Path
from fita.lwm2m.service.table import Claim, ServiceTable
from fita.model.runtime import ServicePhase, WorkloadId
from fita.model.service import ServiceManifest


def instance(phase: str | None = "running", number: int = 1000, **more: object) -> Values:
    values: Values = {Path(9, number, 7): 4, Path(9, number, 12): True}
    if phase is not None:
        values |= {Path(9, number, 27510): "uid/main", Path(9, number, 27511): "d", Path(9, number, 27512): phase}
    return values


def table() -> tuple[ServiceTable, list[int]]:
    changes: list[int] = []
    return ServiceTable({}, changes.append), changes


def test_an_answer_that_a_notification_overtook_does_not_count() -> None:
    services, _ = table()
    since = services.mark()
    services.notify(1000, instance("running"))
    services.update(1000, instance("starting"), since)
    assert services.status(1000).phase is ServicePhase.RUNNING
    services.update(1000, instance("crashed"), services.mark())
    assert services.status(1000).phase is ServicePhase.CRASHED


def test_only_changes_are_told() -> None:
    services, changes = table()
    services.replace(instance() | instance(number=1001), services.mark())
    services.replace(instance() | instance("crashed", number=1001), services.mark())
    services.replace(instance("crashed", number=1001), services.mark())
    assert changes == [1000, 1001, 1001, 1000]


@pytest.mark.parametrize(
    ("state", "active", "phase", "expected"),
    [
        (4, True, None, ServicePhase.RUNNING),
        (4, False, None, ServicePhase.STOPPED),
        (3, True, None, ServicePhase.INSTALLING),
        (4, True, "crashed", ServicePhase.CRASHED),
        (4, True, "something newer", ServicePhase.RUNNING),
    ],
)
def test_the_phase_of_a_device_that_reports_none(
    state: int, active: bool, phase: str | None, expected: ServicePhase
) -> None:
    services, _ = table()
    services.replace({**instance(phase), Path(9, 1000, 7): state, Path(9, 1000, 12): active}, services.mark())
    assert services.status(1000).phase is expected


def test_what_belongs_to_nobody_is_adopted_by_name_and_version_once() -> None:
    manifest = ServiceManifest(name="average", version=2)
    services, _ = table()
    named: Values = {Path(9, 1000, 0): "average", Path(9, 1000, 1): "2"}
    services.replace(instance(None) | named, services.mark())
    assert services.adoptable(ServiceManifest(name="average", version=3)) is None
    assert services.adoptable(manifest) == 1000
    services.claim(1000, Claim(WorkloadId("uid/main"), "d"))
    assert services.adoptable(manifest) is None
    assert services.status(1000).workload == "uid/main"

    ours, _ = table()
    ours.replace(instance() | named, ours.mark())
    assert ours.adoptable(manifest) is None


def test_claims_end_with_their_instances() -> None:
    claims = {1000: Claim(WorkloadId("a"), "d"), 1001: Claim(WorkloadId("b"), "d")}
    services = ServiceTable(claims, lambda instance: None)
    services.replace(instance(None, number=1001), services.mark())
    assert list(claims) == [1001]


# The worker


async def run(worker: Worker) -> None:
    while True:
        await worker.wait()
        await worker.run_next()


async def test_jobs_run_one_at_a_time_in_order() -> None:
    worker, seen = Worker(), []

    async def job(number: int) -> int:
        seen.append(number)
        await asyncio.sleep(0)
        seen.append(number)
        if number == 1:
            raise ValueError("broken")
        return number

    async with asyncio.TaskGroup() as group:
        runner = group.create_task(run(worker))
        calls = [group.create_task(_caught(worker, job, number)) for number in range(3)]
        results = [await call for call in calls]
        runner.cancel()
    assert seen == [0, 0, 1, 1, 2, 2]
    assert results == [0, "broken", 2]


async def _caught(worker: Worker, job: object, number: int) -> object:
    try:
        return await worker.call(lambda: job(number))  # type: ignore[operator]
    except ValueError as error:
        return str(error)


async def test_a_cancelled_call_cancels_its_job_only() -> None:
    worker, cancelled = Worker(), []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def works() -> str:
        return "done"

    async with asyncio.TaskGroup() as group:
        runner = group.create_task(run(worker))
        hanging = group.create_task(worker.call(hangs))
        working = group.create_task(worker.call(works))
        for _ in range(5):
            await asyncio.sleep(0)
        hanging.cancel()
        assert await working == "done"
        runner.cancel()
    assert cancelled == [True]


async def test_a_closed_worker_refuses_and_fails_what_waits() -> None:
    worker = Worker()

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def reason() -> str:
        try:
            await worker.call(hangs)
        except SessionClosedError as error:
            return error.message
        return ""

    async with asyncio.TaskGroup() as group:
        runner = group.create_task(run(worker))
        calls = [group.create_task(reason()) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        worker.close("gone")
        calls.append(group.create_task(reason()))
        assert {await call for call in calls} == {"gone"}
        runner.cancel()


async def test_waiting_jobs_are_bounded() -> None:
    worker = Worker()

    async def never() -> None: ...

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(worker.call(never)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(DeviceBusyError):
            await worker.call(never)
        for call in calls:
            call.cancel()
