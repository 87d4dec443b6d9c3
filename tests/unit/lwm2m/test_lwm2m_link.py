from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.lwm2m.codec.link import Link, parse_links
from fita.lwm2m.errors import LinkFormatError, PathError
from fita.lwm2m.path import Path, parse_path


def test_reads_what_wakaama_sends() -> None:
    payload = b'</>;rt="oma.lwm2m";ct=110, </1/0>, </3>;ver=1.1, </3/0>'
    assert parse_links(payload) == [
        Link("/", (("rt", "oma.lwm2m"), ("ct", "110"))),
        Link("/1/0"),
        Link("/3", (("ver", "1.1"),)),
        Link("/3/0"),
    ]


def test_reads_what_anjay_sends() -> None:
    assert [link.target for link in parse_links(b"</1/1>,</2>,</3/0>,</9/0>;x")] == ["/1/1", "/2", "/3/0", "/9/0"]


def test_reads_omas_attributes_and_quoted_separators() -> None:
    (link,) = parse_links(b'</3303/0/5700>;pmin=1;pmax=60 ; gt=22.5;title="a, \\"b\\"; <c>";obs')
    assert (link.get("pmin"), link.get("pmax"), link.get("gt")) == ("1", "60", "22.5")
    assert (link.get("title"), link.get("obs"), link.get("lt")) == ('a, "b"; <c>', "", None)


def test_an_empty_payload_has_no_links() -> None:
    assert parse_links(b"") == []


@pytest.mark.parametrize(
    "payload",
    [b"/3/0", b"</3/0", b"</3/0>;", b"</3/0></4/0>", b"</3/0>;a=\"b", b"\xff", b"</3/0>;=1", b"<<>", b"</3>,,</4>"]
)  # fmt: skip
def test_what_is_no_link_format_is_named(payload: bytes) -> None:
    with pytest.raises(LinkFormatError):
        parse_links(payload)


names = st.text(alphabet="abcdefghijklmnop-", min_size=1, max_size=6)
links = st.builds(
    Link,
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="<>"), max_size=12),
    st.lists(st.tuples(names, st.text(alphabet=st.characters(codec="utf-8"), max_size=12)), max_size=3).map(tuple),
)


def written_links(links: Iterable[Link]) -> bytes:
    """`links` in link format; values that are no plain words or numbers are quoted."""
    return ",".join(_written(link) for link in links).encode()


def _written(link: Link) -> str:
    parts = [f"<{link.target}>"]
    for name, value in link.attributes:
        if not value:
            parts.append(name)
        elif re.fullmatch(r"[A-Za-z0-9.+\-/:]+", value):
            parts.append(f"{name}={value}")
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{escaped}"')
    return ";".join(parts)


@given(st.lists(links, max_size=5))
@settings(max_examples=100)
def test_reads_what_it_writes(items: list[Link]) -> None:
    assert parse_links(written_links(items)) == items


@given(st.binary(max_size=100))
@settings(max_examples=200)
def test_any_bytes_give_links_or_a_named_error(payload: bytes) -> None:
    with contextlib.suppress(LinkFormatError):
        parse_links(payload)


@pytest.mark.parametrize(
    "unit", [b"</3/0>;a=" + b" " * 50, b'</3/0>;a="' + b"\\" * 50, b" " * 50, b"<", b"</3>;a", b";"]
)
def test_reading_stays_linear(unit: bytes) -> None:
    for payload in (unit * 4000, b"</1/0>;a=b" + unit * 4000):
        with contextlib.suppress(LinkFormatError):
            parse_links(payload)


@pytest.mark.parametrize(
    ("text", "path"),
    [("/3", Path(3)), ("3/0", Path(3, 0)), ("/3/0/9", Path(3, 0, 9)), ("/3/0/7/65534", Path(3, 0, 7, 65534))],
)
def test_reads_paths(text: str, path: Path) -> None:
    assert parse_path(text) == path
    assert str(path) == "/" + text.lstrip("/")
    assert "/".join(path.segments) == text.lstrip("/")
    assert path.depth == text.strip("/").count("/") + 1


@pytest.mark.parametrize(
    "text", ["", "/", "/3/", "//3", "/x", "/65535", "/3/0/1/2/3", "/-1", "/³", "/3/0?", " /3"]
)
def test_what_is_no_path_is_named(text: str) -> None:
    with pytest.raises(PathError):
        parse_path(text)


def test_a_path_covers_what_lies_below() -> None:
    assert Path(3).covers(Path(3, 0, 9))
    assert Path(3, 0, 9).covers(Path(3, 0, 9))
    assert not Path(3, 0, 9).covers(Path(3, 0))
    assert not Path(3, 0).covers(Path(3, 1, 9))
