"""The operations of a server at one device: Read, Write, Execute, Create, Delete, Observe.

Devices differ in what they send and take. SenML CBOR is asked for first; a device that refuses it is asked for
TLV, SenML JSON and then for whatever it likes, and what it agreed to is remembered as long as it is registered.
Source: LwM2M Core 1.1 sections 6.3 and 6.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import structlog

from fita.coap.code import Code
from fita.coap.errors import CoapError, RequestTimeoutError, ResponseError
from fita.coap.interfaces import OnNotification, Peer, Request, Response
from fita.lwm2m.codec.content import Values, decode_payload, encode_payload
from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.errors import Lwm2mError, PayloadError, UnsupportedFormatError
from fita.lwm2m.path import MAX_ID, Path
from fita.lwm2m.value import Value

log = structlog.get_logger(__name__)

T = TypeVar("T")

REQUEST_DEADLINE_S = 45.0
"""For one operation: MAX_TRANSMIT_SPAN of RFC 7252 section 4.8.2, when every transmission has been tried."""
SLOWEST_UPLOAD_BYTES_PER_S = 200.0
"""What a package is given time for: five seconds for a block of 1 kB, that is a retransmission or two of each."""

_READ_FORMATS = (ContentFormat.SENML_CBOR, ContentFormat.TLV, ContentFormat.SENML_JSON, None)
_WRITE_FORMATS = (ContentFormat.TEXT, ContentFormat.TLV, ContentFormat.SENML_CBOR, ContentFormat.SENML_JSON)
_OTHER_FORMAT_CODES = frozenset({Code.NOT_ACCEPTABLE, Code.UNSUPPORTED_CONTENT_FORMAT, Code.BAD_OPTION})

OPERATION_ERRORS = (CoapError, Lwm2mError)
"""Everything that an operation raises."""


class Observation(Protocol):
    """What is used of `fita.coap.request.observation.Observation`."""

    active: bool

    async def renew(self) -> None: ...
    def forget(self) -> None: ...


class Coap(Protocol):
    """What is used of `fita.coap.endpoint.CoapEndpoint`."""

    async def request(self, peer: Peer, request: Request, *, block_size: int = 1024) -> Response: ...
    async def observe(self, peer: Peer, request: Request, on_notification: OnNotification) -> Observation: ...


class DeviceClient:
    """Operations at one device. `peer` is changed by its owner when the device moves.

    Every operation has a deadline of its own and raises `ResponseError` (the device refuses), another `CoapError`
    (no answer), `PayloadError` or `UnsupportedFormatError` (an answer that cannot be read).
    """

    def __init__(self, coap: Coap, peer: Peer, *, root: tuple[str, ...] = ()) -> None:
        self.peer = peer
        self._coap = coap
        self._root = root
        self._read_format: dict[bool, ContentFormat | None] = {}  # by whether a single resource is read
        self._write_format: ContentFormat | None = None

    async def read(self, path: Path) -> Values:
        """What the device has at `path`, in one request however much it is."""

        async def attempt(accept: ContentFormat | None) -> Values:
            response = await self._send(Request(method=Code.GET, path=self._segments(path), accept=accept))
            return decode_payload(response.payload, response.content_format, path)

        return await self._in_a_format_it_sends(path, attempt)

    async def observe(
        self, path: Path, on_values: Callable[[Values], None], on_end: Callable[[], None]
    ) -> Observation:
        """Observe `path`; `on_values` is called with every representation, the first one before this returns.

        `on_end` is called when the device ends it. Also raises `NotObservableError`.
        """

        def notified(response: Response) -> None:
            if not response.code.is_success:
                on_end()
                return
            try:
                values = decode_payload(response.payload, response.content_format, path)
            except Lwm2mError as error:
                log.warning("notification unreadable", peer=self.peer, path=str(path), why=error.message)
            else:
                on_values(values)

        async def attempt(accept: ContentFormat | None) -> Observation:
            request = Request(method=Code.GET, path=self._segments(path), accept=accept)
            async with _deadline(REQUEST_DEADLINE_S):
                return await self._coap.observe(self.peer, request, notified)

        return await self._in_a_format_it_sends(path, attempt)

    async def write(self, path: Path, value: Value) -> None:
        """Replace one resource."""
        formats = _WRITE_FORMATS if self._write_format is None else (self._write_format,)
        for content_format in formats:
            request = Request(
                method=Code.PUT,
                path=self._segments(path),
                content_format=content_format,
                payload=encode_payload({path: value}, content_format),
            )
            try:
                await self._send(request)
            except ResponseError as error:
                if error.code not in _OTHER_FORMAT_CODES or content_format is formats[-1]:
                    raise
            else:
                self._write_format = content_format
                return

    async def write_opaque(self, path: Path, data: bytes) -> None:
        """Replace one resource by bytes of any length."""
        request = Request(
            method=Code.PUT, path=self._segments(path), content_format=ContentFormat.OPAQUE, payload=data
        )
        await self._send(request, deadline_s=REQUEST_DEADLINE_S + len(data) / SLOWEST_UPLOAD_BYTES_PER_S)

    async def execute(self, path: Path) -> None:
        """Execute a resource without arguments."""
        await self._send(Request(method=Code.POST, path=self._segments(path)))

    async def create(self, object_id: int) -> int | None:
        """Create an instance without values; its id, None if the device does not say it."""
        response = await self._send(Request(method=Code.POST, path=self._segments(Path(object_id))))
        if not response.location_path:
            return None
        last = response.location_path[-1]
        if last.isascii() and last.isdigit() and int(last[:6]) <= MAX_ID:
            return int(last)
        raise Lwm2mError(
            f"the device created an instance at {'/'.join(response.location_path)[:64]!r}, which is no path",
            hint="its LwM2M client is broken",
        )

    async def delete(self, path: Path) -> None:
        """Delete an instance."""
        await self._send(Request(method=Code.DELETE, path=self._segments(path)))

    def _segments(self, path: Path) -> tuple[str, ...]:
        return (*self._root, *path.segments)

    async def _send(self, request: Request, *, deadline_s: float = REQUEST_DEADLINE_S) -> Response:
        async with _deadline(deadline_s):
            return (await self._coap.request(self.peer, request)).checked()

    async def _in_a_format_it_sends(
        self, path: Path, attempt: Callable[[ContentFormat | None], Awaitable[T]]
    ) -> T:
        """`attempt` with the format the device is known to send, else with one after the other."""
        single = path.depth > 2
        if single in self._read_format:
            return await attempt(self._read_format[single])
        refusal: ResponseError | PayloadError | UnsupportedFormatError | None = None
        for accept in _READ_FORMATS:
            try:
                found = await attempt(accept)
            except ResponseError as error:
                if error.code not in _OTHER_FORMAT_CODES:
                    raise
                refusal = refusal or error
            except (PayloadError, UnsupportedFormatError) as error:
                refusal = refusal or error
            else:
                self._read_format[single] = accept
                return found
        assert refusal is not None  # _READ_FORMATS is not empty
        raise refusal


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise RequestTimeoutError(f"no answer within {seconds:.0f} s") from error
