"""Blockwise transfer (RFC 7959) without I/O: the block option, and bodies cut and joined in the client role.

A client drives `Upload` and `Download`: send `next_request`, hand the response to `receive`, until that says done.
The server role is `fita.coap.request.blockwise_server`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fita.coap.code import Code
from fita.coap.errors import BlockwiseError
from fita.coap.interfaces import Option, Request, Response
from fita.coap.message import option
from fita.coap.message.option import decode_uint, encode_uint

LARGEST_EXPONENT = 6  # 1024 bytes; 7 is reserved on UDP (RFC 7959 section 2.2)
LARGEST_BLOCK = 16 << LARGEST_EXPONENT
_RESTARTS = 2  # of a transfer whose body changed, or that the server lost, before giving up
_TRANSFER_OPTIONS = frozenset({option.BLOCK1, option.BLOCK2, option.SIZE1, option.SIZE2})


class Block(NamedTuple):
    """The value of Block1 and Block2: block number, whether more follow, size exponent (RFC 7959 section 2.2)."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """In bytes: 16 to 1024."""
        return 16 << self.exponent

    @property
    def offset(self) -> int:
        return self.number << self.exponent + 4

    def encode(self) -> bytes:
        return encode_uint(self.number << 4 | self.more << 3 | self.exponent)


def find_block(number: int, options: tuple[Option, ...]) -> Block | None:
    """The block option `number`, None without one. Raises `BlockwiseError` for the reserved size."""
    for seen, value in options:
        if seen == number:
            bits = decode_uint(value)
            if bits & 7 > LARGEST_EXPONENT:
                raise BlockwiseError("the block size exponent 7 is reserved")
            return Block(bits >> 4, bool(bits & 8), bits & 7)
    return None


def size_exponent(block_size: int) -> int:
    """The exponent of a size in bytes. Raises `ValueError` unless it is 16, 32, ... 1024."""
    exponent = block_size.bit_length() - 5
    if not 0 <= exponent <= LARGEST_EXPONENT or block_size != 16 << exponent:
        raise ValueError(f"block size {block_size} is no power of two from 16 to 1024")
    return exponent


def without_transfer_options(options: tuple[Option, ...]) -> tuple[Option, ...]:
    return tuple(entry for entry in options if entry[0] not in _TRANSFER_OPTIONS)


def without_blocks(response: Response) -> Response:
    """A whole response, as if it had come in one message."""
    if not response.options:
        return response
    return msgspec.structs.replace(response, options=without_transfer_options(response.options))


def first_request(request: Request, exponent: int) -> Request:
    """`request` with the largest response block to propose (RFC 7959 section 2.4); 1024 bytes need no word."""
    if exponent == LARGEST_EXPONENT:
        return request
    block = (option.BLOCK2, Block(0, False, exponent).encode())
    return msgspec.structs.replace(request, options=(*request.options, block))


def smaller_upload(request: Request, response: Response) -> int | None:
    """The exponent to repeat `request` with when it was refused whole as too large (RFC 7959 section 2.9.3)."""
    if response.code != Code.REQUEST_ENTITY_TOO_LARGE:
        return None
    wish = find_block(option.BLOCK1, response.options)
    return wish.exponent if wish is not None and wish.size < len(request.payload) else None


class Upload:
    """Sends the payload of `request` in Block1 blocks."""

    def __init__(self, request: Request, exponent: int) -> None:
        self._request = request
        self._proposed = exponent  # for the response
        self._exponent = exponent
        self._offset = 0
        self._restarts = 0

    def next_request(self) -> Request:
        """The request that carries the next block."""
        block = self._block()
        options = [*self._request.options, (option.BLOCK1, block.encode())]
        if not block.more and self._proposed < LARGEST_EXPONENT:
            options.append((option.BLOCK2, Block(0, False, self._proposed).encode()))
        if self._offset == 0:
            options.append((option.SIZE1, encode_uint(len(self._request.payload))))
        payload = self._request.payload[block.offset : block.offset + block.size]
        return msgspec.structs.replace(self._request, payload=payload, options=tuple(options))

    def receive(self, response: Response) -> bool:
        """Whether `response` is the final one. Raises `BlockwiseError` when it fits no block that was sent."""
        sent = self._block()
        echo = find_block(option.BLOCK1, response.options)
        if not response.code.is_success:
            return not self._restart(response.code, echo)
        if not sent.more:
            if response.code == Code.CONTINUE:
                raise BlockwiseError("the peer waits for more after the last block")
            return True
        if echo is None or echo.number != sent.number:
            raise BlockwiseError(
                f"{response.code} in the middle of an upload does not confirm block {sent.number}"
            )
        self._offset += sent.size
        self._exponent = min(self._exponent, echo.exponent)
        return False

    def _block(self) -> Block:
        size = 16 << self._exponent
        more = self._offset + size < len(self._request.payload)
        return Block(self._offset // size, more, self._exponent)

    def _restart(self, code: Code, echo: Block | None) -> bool:
        if code == Code.REQUEST_ENTITY_TOO_LARGE and echo is not None and echo.exponent < self._exponent:
            self._exponent = echo.exponent  # RFC 7959 section 2.9.3
        elif code == Code.REQUEST_ENTITY_INCOMPLETE and self._offset > 0 and self._restarts < _RESTARTS:
            self._restarts += 1
        else:
            return False
        self._offset = 0
        return True


class Download:
    """Collects the body that the response `first` began, in Block2 blocks."""

    def __init__(self, request: Request, first: Response, limit_bytes: int) -> None:
        # A FETCH's payload is part of what is asked for (RFC 8132 section 2); one sent in blocks is not repeated.
        keeps_payload = request.method == Code.FETCH and len(request.payload) <= LARGEST_BLOCK
        self._request = msgspec.structs.replace(
            request, payload=request.payload if keeps_payload else b"", observe=None
        )
        self._limit_bytes = limit_bytes
        self._restarts = 0
        self._exponent = LARGEST_EXPONENT
        self._body = bytearray()
        self._first = first

    def next_request(self) -> Request:
        """The request for the next block."""
        block = Block(len(self._body) >> self._exponent + 4, False, self._exponent)
        options = (*self._request.options, (option.BLOCK2, block.encode()))
        return msgspec.structs.replace(self._request, options=options)

    def receive(self, response: Response) -> Response | None:
        """The final response, None while blocks are missing. Raises `BlockwiseError` for one that does not fit."""
        if not response.code.is_success:
            return response
        block = find_block(option.BLOCK2, response.options)
        if self._body and response.etag != self._first.etag:
            self._restart()
            return None
        if block is None or block.offset != len(self._body):
            raise BlockwiseError(f"expected the block at byte {len(self._body)}, got {block}")
        if block.more and len(response.payload) != block.size:
            raise BlockwiseError(f"a block of {len(response.payload)} bytes calls itself {block.size} bytes long")
        if not self._body:
            self._first = response
        self._body += response.payload
        self._exponent = block.exponent
        if len(self._body) > self._limit_bytes:
            raise BlockwiseError(f"the body is longer than {self._limit_bytes} bytes")
        return None if block.more else self._whole()

    def _restart(self) -> None:
        self._restarts += 1
        if self._restarts > _RESTARTS:
            raise BlockwiseError("the representation changes faster than it can be read")
        self._body.clear()

    def _whole(self) -> Response:
        return without_blocks(msgspec.structs.replace(self._first, payload=bytes(self._body)))
