"""Link format (RFC 6690) with OMA's attributes (LwM2M Core 1.1 section 7.3.2): a registration's list of objects.

Reading is linear in the payload's length whatever it holds, and tolerant of what clients in the field send:
blanks around separators, bare attributes, no root link, attributes of any name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fita.lwm2m.errors import LinkFormatError

_TARGET = re.compile(r"[ \t\r\n]*<([^<>]*)>[ \t\r\n]*")
# The value's closing blanks are stripped afterwards: leaving them to the pattern would make it backtrack.
_ATTRIBUTE = re.compile(
    r';[ \t]*([A-Za-z0-9!#$&+\-.^_`|~*]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"[ \t]*|([^;,"]*)))?'
)
_ESCAPED = re.compile(r"\\(.)")


class Link(NamedTuple):
    """One link: its target and its attributes in order. A bare attribute has the value ``""``."""

    target: str
    attributes: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The first value of an attribute, None without one."""
        return next((value for key, value in self.attributes if key == name), None)


def parse_links(payload: bytes) -> list[Link]:
    """The links in `payload`; an empty payload has none. Raises `LinkFormatError`."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise LinkFormatError("the list of links is not UTF-8") from error
    links: list[Link] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TARGET.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        position = match.end()
        attributes: tuple[tuple[str, str], ...] = ()
        if position < end and text[position] == ";":
            attributes, position = _attributes(text, position)
        links.append(Link(match[1], attributes))
        if position < end:
            if text[position] != ",":
                raise _unreadable(text, position)
            position += 1
    return links


def _attributes(text: str, position: int) -> tuple[tuple[tuple[str, str], ...], int]:
    found: list[tuple[str, str]] = []
    while match := _ATTRIBUTE.match(text, position):
        quoted = match[2]
        value = (match[3] or "").strip() if quoted is None else _ESCAPED.sub(r"\1", quoted)
        found.append((match[1], value))
        position = match.end()
    return tuple(found), position


def _unreadable(text: str, position: int) -> LinkFormatError:
    return LinkFormatError(f"no link at {text[position : position + 32]!r} (character {position})")
