"""Blockwise transfer (RFC 7959) in the server role, without I/O.

Asked before the handler (`assemble`) and after it (`serve`). Atomic Block1 only: a handler sees a whole body or
nothing. A large response is kept until its last block was fetched, so that all blocks are of one representation.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from fita.coap.code import Code
from fita.coap.errors import BlockwiseError
from fita.coap.interfaces import Limits, Option, Peer, Request, Response
from fita.coap.message import option
from fita.coap.message.option import decode_uint, encode_uint
from fita.coap.message.timer import Timers
from fita.coap.request.blockwise import LARGEST_EXPONENT, Block, find_block, without_transfer_options

_SAFE = frozenset({Code.GET, Code.FETCH})  # may be asked again when the kept response is gone

TransferKey = tuple[Peer, Code, tuple[str, ...], tuple[str, ...], int | None, tuple[Option, ...]]
"""What makes blocks parts of one body: RFC 7959 section 2.5, with Request-Tag (RFC 9175) among the options."""

Head = TypeVar("Head", Request, Response)


@dataclass(slots=True)
class Body(Generic[Head]):
    """A body on its way and the message that began it, whose payload is empty."""

    head: Head
    touched: float
    data: bytearray = field(default_factory=bytearray)


class BodyStore(Generic[Head]):
    """Bodies of transfers under way, bounded in number, bytes and age; what is over a bound goes oldest first."""

    def __init__(self, timers: Timers, limits: Limits, lifetime_s: float) -> None:
        self.deadline: float | None = None
        self._timers = timers
        self._limits = limits
        self._lifetime_s = lifetime_s
        self._bodies: OrderedDict[TransferKey, Body[Head]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def put(self, key: TransferKey, head: Head, data: bytes, now: float) -> None:
        """Keep a new body as the youngest, instead of one with this key."""
        self.pop(key)
        self._bodies[key] = Body(msgspec.structs.replace(head, payload=b""), now)
        self.extend(key, data, now)
        if self.deadline is None and self._bodies:
            self._timers.schedule(self, now + self._lifetime_s)

    def get(self, key: TransferKey) -> Body[Head] | None:
        return self._bodies.get(key)

    def extend(self, key: TransferKey, block: bytes, now: float) -> None:
        """Append to a body, which is the youngest then."""
        body = self._bodies[key]
        body.data += block
        body.touched = now
        self._bodies.move_to_end(key)
        self._bytes += len(block)
        while len(self._bodies) > self._limits.transfers or self._bytes > self._limits.transfer_bytes:
            self.pop(next(iter(self._bodies)))

    def pop(self, key: TransferKey) -> None:
        """Drop a body; nothing happens without one."""
        body = self._bodies.pop(key, None)
        if body is not None:
            self._bytes -= len(body.data)

    def fire(self, now: float) -> None:
        """Drop what was not touched for the lifetime."""
        while self._bodies:
            key, body = next(iter(self._bodies.items()))
            if body.touched + self._lifetime_s > now:
                self._timers.schedule(self, body.touched + self._lifetime_s)
                return
            self.pop(key)


class BlockwiseServer:
    """Both directions for all peers."""

    def __init__(self, timers: Timers, limits: Limits, lifetime_s: float) -> None:
        self._body_bytes = limits.body_bytes
        self._uploads: BodyStore[Request] = BodyStore(timers, limits, lifetime_s)
        self._downloads: BodyStore[Response] = BodyStore(timers, limits, lifetime_s)

    def assemble(self, request: Request, peer: Peer, now: float) -> Request | Response:
        """The whole request for the handler, or the answer to a block that does not need the handler."""
        try:
            block1 = find_block(option.BLOCK1, request.options)
            block2 = find_block(option.BLOCK2, request.options)
        except BlockwiseError as error:
            return _refusal(Code.BAD_REQUEST, error.message)
        if block1 is not None:
            return self._receive_block(request, block1, _key(request, peer), now)
        if block2 is not None and block2.number > 0:
            return self._next_block(request, block2, _key(request, peer))
        return _whole(request, request.payload)

    def serve(self, request: Request, response: Response, peer: Peer, now: float) -> Response:
        """`response`, or the block of it that `request` (as it came, not as assembled) asked for."""
        block1 = find_block(option.BLOCK1, request.options)
        block2 = find_block(option.BLOCK2, request.options)
        part = self._first_block(request, response, block2, peer, now)
        return part if block1 is None else _with_options(part, (option.BLOCK1, block1.encode()))

    def _first_block(
        self, request: Request, response: Response, block: Block | None, peer: Peer, now: float
    ) -> Response:
        if block is None:
            block = Block(0, False, LARGEST_EXPONENT)
            if len(response.payload) <= block.size:
                return response
        if block.offset and block.offset >= len(response.payload):
            return _refusal(Code.BAD_REQUEST, f"the representation has {len(response.payload)} bytes")
        if len(response.payload) > block.size and response.etag is None:
            etag = hashlib.sha256(response.payload).digest()[:8]
            response = msgspec.structs.replace(response, etag=etag)
        if block.offset + block.size < len(response.payload):
            self._downloads.put(_key(request, peer), response, response.payload, now)
        return _block_of(response, response.payload, block)

    def _receive_block(self, request: Request, block: Block, key: TransferKey, now: float) -> Request | Response:
        echo = (option.BLOCK1, block.encode())
        too_large = self._limit_violation(request, block)
        if too_large is not None:
            self._uploads.pop(key)
            return too_large
        if block.more and len(request.payload) != block.size:
            return _refusal(
                Code.BAD_REQUEST, f"the block has {len(request.payload)} bytes, not {block.size}", echo
            )
        if block.number == 0 and not block.more:
            return _whole(request, request.payload)
        if block.number == 0:
            self._uploads.put(key, request, b"", now)
        body = self._uploads.get(key)
        if body is None or len(body.data) != block.offset or body.head.content_format != request.content_format:
            self._uploads.pop(key)
            return _refusal(Code.REQUEST_ENTITY_INCOMPLETE, "send the body again from its first block", echo)
        if block.more:
            self._uploads.extend(key, request.payload, now)
            return Response(code=Code.CONTINUE, options=(echo,))
        self._uploads.pop(key)
        body.data += request.payload
        return _whole(request, bytes(body.data))

    def _limit_violation(self, request: Request, block: Block) -> Response | None:
        announced = max(
            (decode_uint(value) for number, value in request.options if number == option.SIZE1), default=0
        )
        if max(block.offset + len(request.payload), announced) <= self._body_bytes:
            return None
        limit = (option.SIZE1, encode_uint(self._body_bytes))
        return _refusal(Code.REQUEST_ENTITY_TOO_LARGE, f"at most {self._body_bytes} bytes", limit)

    def _next_block(self, request: Request, block: Block, key: TransferKey) -> Request | Response:
        body = self._downloads.get(key)
        if body is None:
            if request.method in _SAFE:
                return _whole(request, request.payload)
            return _refusal(Code.REQUEST_ENTITY_INCOMPLETE, "the response is gone: send the request again")
        if block.offset >= len(body.data):
            return _refusal(Code.BAD_REQUEST, f"the representation has {len(body.data)} bytes")
        if block.offset + block.size >= len(body.data):
            self._downloads.pop(key)
        return _block_of(body.head, body.data, block)


def _whole(request: Request, payload: bytes) -> Request:
    return msgspec.structs.replace(request, payload=payload, options=without_transfer_options(request.options))


def _key(request: Request, peer: Peer) -> TransferKey:
    options = without_transfer_options(request.options)
    return peer, request.method, request.path, request.query, request.accept, options


def _block_of(head: Response, data: bytes | bytearray, block: Block) -> Response:
    stop = block.offset + block.size
    part = Block(block.number, stop < len(data), block.exponent)
    options = [*head.options, (option.BLOCK2, part.encode())]
    if block.number == 0 and part.more:
        options.append((option.SIZE2, encode_uint(len(data))))
    return msgspec.structs.replace(head, payload=bytes(data[block.offset : stop]), options=tuple(options))


def _with_options(response: Response, *options: Option) -> Response:
    return msgspec.structs.replace(response, options=(*response.options, *options))


def _refusal(code: Code, diagnostic: str, *options: Option) -> Response:
    return Response(code=code, payload=diagnostic.encode(), options=options)
