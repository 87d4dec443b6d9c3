"""Requests and responses to messages' options and back: where options get their meaning.

Reading applies the rules for options that are not understood (`fita.coap.message.option`): an elective one stays
in `options` or is dropped, a critical one raises `BadOptionError`. Blocks pass through `options` to the layer that
reassembles bodies.
"""

from __future__ import annotations

from fita.coap.errors import BadOptionError
from fita.coap.interfaces import Option, Request, Response
from fita.coap.message import option
from fita.coap.message.format import Message
from fita.coap.message.option import decode_uint, encode_uint

# Accepted and dropped in requests: one host is served here, whatever its name.
_ENDPOINT_OPTIONS = frozenset({option.URI_HOST, option.URI_PORT})
_DOT_SEGMENTS = frozenset({b".", b".."})  # RFC 7252 section 5.10.1
_BLOCK_OPTIONS = frozenset({option.BLOCK1, option.BLOCK2})


def read_request(message: Message) -> Request:
    """The request in `message`. Raises `BadOptionError` (answer: 4.02, or 5.05 for a proxy's options)."""
    path: list[str] = []
    query: list[str] = []
    content_format = accept = observe = None
    others: list[Option] = []
    for number, value in message.options:
        if number == option.URI_PATH:
            path.append(_text(number, value))
        elif number == option.URI_QUERY:
            query.append(_text(number, value))
        elif number == option.CONTENT_FORMAT and content_format is None and len(value) <= 2:
            content_format = decode_uint(value)
        elif number == option.ACCEPT and accept is None and len(value) <= 2:
            accept = decode_uint(value)
        elif number == option.OBSERVE and observe is None and len(value) <= 3:
            observe = decode_uint(value)
        elif number not in _ENDPOINT_OPTIONS and _is_understood(number, value, others):
            others.append((number, value))
    return Request(
        method=message.code,
        path=tuple(path),
        query=tuple(query),
        content_format=content_format,
        accept=accept,
        payload=message.payload,
        observe=observe,
        options=tuple(others),
    )


def read_response(message: Message) -> Response:
    """The response in `message`. Raises `BadOptionError`: the response is to be rejected."""
    location_path: list[str] = []
    location_query: list[str] = []
    numbers: dict[int, int] = {}
    etag = None
    others: list[Option] = []
    for number, value in message.options:
        if number == option.LOCATION_PATH:
            location_path.append(_text(number, value))
        elif number == option.LOCATION_QUERY:
            location_query.append(_text(number, value))
        elif number in _RESPONSE_UINTS:
            if number not in numbers and len(value) <= option.FORMATS[number].longest:
                numbers[number] = decode_uint(value)
        elif number == option.ETAG:
            etag = value if etag is None and 0 < len(value) <= 8 else etag
        elif _is_understood(number, value, others):
            others.append((number, value))
    return Response(
        code=message.code,
        payload=message.payload,
        content_format=numbers.get(option.CONTENT_FORMAT),
        location_path=tuple(location_path),
        location_query=tuple(location_query),
        etag=etag,
        max_age_s=numbers.get(option.MAX_AGE),
        observe=numbers.get(option.OBSERVE),
        options=tuple(others),
    )


_RESPONSE_UINTS = frozenset({option.CONTENT_FORMAT, option.MAX_AGE, option.OBSERVE})


def request_options(request: Request) -> list[Option]:
    """The options of `request`, in no particular order."""
    options = [(option.URI_PATH, segment.encode()) for segment in request.path]
    options += [(option.URI_QUERY, segment.encode()) for segment in request.query]
    if request.observe is not None:
        options.append((option.OBSERVE, encode_uint(request.observe)))
    if request.content_format is not None:
        options.append((option.CONTENT_FORMAT, encode_uint(request.content_format)))
    if request.accept is not None:
        options.append((option.ACCEPT, encode_uint(request.accept)))
    return [*options, *request.options]


def response_options(response: Response) -> list[Option]:
    """The options of `response`, in no particular order."""
    options = [(option.LOCATION_PATH, segment.encode()) for segment in response.location_path]
    options += [(option.LOCATION_QUERY, segment.encode()) for segment in response.location_query]
    if response.etag is not None:
        options.append((option.ETAG, response.etag))
    if response.observe is not None:
        options.append((option.OBSERVE, encode_uint(response.observe)))
    if response.content_format is not None:
        options.append((option.CONTENT_FORMAT, encode_uint(response.content_format)))
    if response.max_age_s is not None:
        options.append((option.MAX_AGE, encode_uint(response.max_age_s)))
    return [*options, *response.options]


def _text(number: int, value: bytes) -> str:
    if len(value) <= 255 and value not in _DOT_SEGMENTS:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    raise BadOptionError(f"option {number} is no text of at most 255 bytes", number=number)


def _is_understood(number: int, value: bytes, earlier: list[Option]) -> bool:
    """Whether to keep the option; False for an elective one to be ignored."""
    shortest, longest, repeatable = option.format_of(number)
    fits = shortest <= len(value) <= longest and (repeatable or all(number != seen for seen, _ in earlier))
    if option.is_critical(number):
        if not fits or number not in _BLOCK_OPTIONS:
            raise BadOptionError(f"option {number} is not understood", number=number)
        return True
    return fits
