"""What is observed at one device, and what is asked for again and again because it cannot be observed.

A device gives up an observation when its notifications are not acknowledged, and does not say so. Hence what has
been silent is renewed from time to time; a renewal also brings the present value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from fita.coap.code import Code
from fita.coap.errors import NotObservableError, ResponseError
from fita.lwm2m.codec.content import Values
from fita.lwm2m.device.operation import OPERATION_ERRORS, REQUEST_DEADLINE_S, DeviceClient, Observation
from fita.lwm2m.path import Path

log = structlog.get_logger(__name__)

OnValues = Callable[[Values], None]
OnEnd = Callable[[], None]


@dataclass(slots=True, eq=False)
class _Watch:
    path: Path
    on_values: OnValues
    on_end: OnEnd
    observation: Observation | None = None  # None: the device does not observe it
    heard_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class Observer:
    """Observations by path. `on_notification` is called once for each representation, for counting."""

    def __init__(self, client: DeviceClient, on_notification: Callable[[], None]) -> None:
        self._client = client
        self._on_notification = on_notification
        self._watches: dict[Path, _Watch] = {}

    def __contains__(self, path: Path) -> bool:
        return path in self._watches

    @property
    def polls(self) -> bool:
        """Whether something has to be asked for because it cannot be observed."""
        return any(watch.observation is None for watch in self._watches.values())

    async def watch(self, path: Path, on_values: OnValues, on_end: OnEnd) -> None:
        """Observe `path` until `unwatch`, or until the device ends it and `on_end` is called.

        `on_values` is called with every representation, the first before this returns. A device that does not
        observe it is asked by `poll`. Raises what `DeviceClient.observe` raises but `NotObservableError`.
        """
        self.unwatch(path)
        watch = _Watch(path, on_values, on_end)
        self._watches[path] = watch
        try:
            await self._observe(watch)
        except BaseException:
            self._drop(watch)
            raise

    def unwatch(self, path: Path) -> None:
        """Observe it no longer; nothing happens if it was not observed."""
        watch = self._watches.pop(path, None)
        if watch is not None and watch.observation is not None:
            watch.observation.forget()

    def close(self) -> None:
        """Observe nothing any more."""
        for path in list(self._watches):
            self.unwatch(path)

    async def renew(self, *, silent_s: float) -> None:
        """Register again what has not been heard of for `silent_s`. Stops at the first that gets no answer."""
        now = asyncio.get_running_loop().time()
        for watch in list(self._watches.values()):
            observation = watch.observation
            if observation is None or now - watch.heard_at < silent_s:
                continue
            try:
                async with asyncio.timeout(REQUEST_DEADLINE_S):
                    await observation.renew() if observation.active else await self._observe(watch)
            except NotObservableError:
                watch.observation = None
            except ResponseError as error:
                self._end(watch, error)
            except (*OPERATION_ERRORS, TimeoutError):
                log.info("observation not renewed", peer=self._client.peer, path=str(watch.path))
                return

    async def poll(self) -> None:
        """Read what cannot be observed. Raises what `DeviceClient.read` raises when there is no answer."""
        for watch in list(self._watches.values()):
            if watch.observation is None:
                try:
                    values = await self._client.read(watch.path)
                except ResponseError as error:
                    self._end(watch, error)
                else:
                    self._heard(watch, values)

    async def _observe(self, watch: _Watch) -> None:
        try:
            watch.observation = await self._client.observe(
                watch.path, lambda values: self._heard(watch, values), lambda: self._end(watch)
            )
        except NotObservableError:
            log.info("not observable", peer=self._client.peer, path=str(watch.path))
            watch.observation = None
            self._heard(watch, await self._client.read(watch.path))

    def _heard(self, watch: _Watch, values: Values) -> None:
        if self._watches.get(watch.path) is watch:
            watch.heard_at = asyncio.get_running_loop().time()
            self._on_notification()
            watch.on_values(values)

    def _end(self, watch: _Watch, error: ResponseError | None = None) -> None:
        if self._drop(watch):
            if error is not None and error.code != Code.NOT_FOUND:
                log.warning("observation ended", peer=self._client.peer, path=str(watch.path), why=error.message)
            watch.on_end()

    def _drop(self, watch: _Watch) -> bool:
        if self._watches.get(watch.path) is not watch:
            return False
        del self._watches[watch.path]
        return True
