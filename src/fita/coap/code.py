"""CoAP codes: methods, response codes and signals as one byte ``class.detail`` (RFC 7252 section 12.1).

Unregistered codes stay usable as numbers: a peer may speak a newer revision, and only the class decides.
"""

from __future__ import annotations

from typing import ClassVar


class Code(int):
    """One code byte. `str` gives ``2.05``; ``Code.CONTENT`` and its siblings are the registered ones.

    Sources: RFC 7252 section 12.1, RFC 7959 section 6 (2.31, 4.08), RFC 8132 section 6 (FETCH, PATCH, 4.09, 4.22),
    RFC 8516 (4.29).
    """

    __slots__ = ()

    EMPTY: ClassVar[Code]
    GET: ClassVar[Code]
    POST: ClassVar[Code]
    PUT: ClassVar[Code]
    DELETE: ClassVar[Code]
    FETCH: ClassVar[Code]
    PATCH: ClassVar[Code]
    IPATCH: ClassVar[Code]
    CREATED: ClassVar[Code]
    DELETED: ClassVar[Code]
    VALID: ClassVar[Code]
    CHANGED: ClassVar[Code]
    CONTENT: ClassVar[Code]
    CONTINUE: ClassVar[Code]
    BAD_REQUEST: ClassVar[Code]
    UNAUTHORIZED: ClassVar[Code]
    BAD_OPTION: ClassVar[Code]
    FORBIDDEN: ClassVar[Code]
    NOT_FOUND: ClassVar[Code]
    METHOD_NOT_ALLOWED: ClassVar[Code]
    NOT_ACCEPTABLE: ClassVar[Code]
    REQUEST_ENTITY_INCOMPLETE: ClassVar[Code]
    CONFLICT: ClassVar[Code]
    PRECONDITION_FAILED: ClassVar[Code]
    REQUEST_ENTITY_TOO_LARGE: ClassVar[Code]
    UNSUPPORTED_CONTENT_FORMAT: ClassVar[Code]
    UNPROCESSABLE_ENTITY: ClassVar[Code]
    TOO_MANY_REQUESTS: ClassVar[Code]
    INTERNAL_SERVER_ERROR: ClassVar[Code]
    NOT_IMPLEMENTED: ClassVar[Code]
    BAD_GATEWAY: ClassVar[Code]
    SERVICE_UNAVAILABLE: ClassVar[Code]
    GATEWAY_TIMEOUT: ClassVar[Code]
    PROXYING_NOT_SUPPORTED: ClassVar[Code]

    @property
    def code_class(self) -> int:
        """0 request, 2 success, 4 client error, 5 server error; 1, 6 and 7 are reserved on UDP."""
        return self >> 5

    @property
    def is_request(self) -> bool:
        return 0 < self < 0x20

    @property
    def is_response(self) -> bool:
        return self >> 5 in {2, 4, 5}

    @property
    def is_success(self) -> bool:
        return self >> 5 == 2

    @property
    def phrase(self) -> str:
        """The registered name in words (``Not Found``); empty for an unregistered code."""
        return _PHRASES.get(self, "")

    def __str__(self) -> str:
        return f"{self >> 5}.{self & 0x1F:02}"

    def __repr__(self) -> str:
        return f"<{self} {self.phrase}>" if self in _PHRASES else f"<{self}>"


_REGISTRY: dict[str, int] = {
    "EMPTY": 0,
    "GET": 1,
    "POST": 2,
    "PUT": 3,
    "DELETE": 4,
    "FETCH": 5,
    "PATCH": 6,
    "IPATCH": 7,
    "CREATED": 201,
    "DELETED": 202,
    "VALID": 203,
    "CHANGED": 204,
    "CONTENT": 205,
    "CONTINUE": 231,
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "BAD_OPTION": 402,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "NOT_ACCEPTABLE": 406,
    "REQUEST_ENTITY_INCOMPLETE": 408,
    "CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
    "REQUEST_ENTITY_TOO_LARGE": 413,
    "UNSUPPORTED_CONTENT_FORMAT": 415,
    "UNPROCESSABLE_ENTITY": 422,
    "TOO_MANY_REQUESTS": 429,
    "INTERNAL_SERVER_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "BAD_GATEWAY": 502,
    "SERVICE_UNAVAILABLE": 503,
    "GATEWAY_TIMEOUT": 504,
    "PROXYING_NOT_SUPPORTED": 505,
}
_PHRASES: dict[int, str] = {}

CODES: tuple[Code, ...] = tuple(Code(byte) for byte in range(256))
"""Every code byte as its `Code`, so that decoding creates none."""

for _name, _hundreds in _REGISTRY.items():
    _byte = _hundreds // 100 << 5 | _hundreds % 100
    setattr(Code, _name, CODES[_byte])
    _PHRASES[_byte] = _name.replace("_", " ").title() if _byte >= 0x20 else _name
