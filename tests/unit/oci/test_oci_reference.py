from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from fita.oci.errors import InvalidReferenceError
from fita.oci.reference import LOCAL_REGISTRY, Reference, parse_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("busybox", ("docker.io", "library/busybox", "latest", "")),
        ("user/app:1", ("docker.io", "user/app", "1", "")),
        ("index.docker.io/user/app:1", ("docker.io", "user/app", "1", "")),
        ("fita.local/average:2", ("fita.local", "average", "2", "")),
        ("localhost/app", ("localhost", "app", "latest", "")),
        ("Registry.Example:5000/a/b.c_d--e:v1.0", ("registry.example:5000", "a/b.c_d--e", "v1.0", "")),
        ("[::1]:5000/app:1", ("[::1]:5000", "app", "1", "")),
        (f"ghcr.io/a/b@{DIGEST}", ("ghcr.io", "a/b", "", DIGEST)),
        (f"ghcr.io/a/b:1@{DIGEST}", ("ghcr.io", "a/b", "1", DIGEST)),
    ],
)
def test_reads_what_kubernetes_reads(text: str, parts: tuple[str, str, str, str]) -> None:
    assert parse_reference(text) == Reference(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "App:1",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:1:2",
        "a b",
        "a@sha256:abc",
        "a@",
        "a@" + DIGEST + "0",
        f"a@sha512:{'0' * 128}",
        "ghcr.io:70000/a",
        "ghcr..io/a",
        "-ghcr.io/a",
        "[::g]:1/a",
        "[::1/a",
        "https://ghcr.io/a",
        "a:" + "t" * 129,
        "ghcr.io/../a",
        "a" * 1025,
    ],
)
def test_refuses_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_reference(text)
    assert caught.value.hint


def test_a_name_alone_can_mean_the_local_store() -> None:
    assert parse_reference("average:2", default_registry=LOCAL_REGISTRY).is_local
    assert not parse_reference("average:2").is_local


component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
hosts = st.one_of(
    st.lists(label, min_size=2, max_size=4).map(".".join), st.just("localhost"), st.just("[fe80::1]")
)
registries = st.builds(lambda host, port: f"{host}:{port}" if port else host, hosts, st.integers(0, 65535))
references = st.builds(
    Reference,
    registries,
    st.lists(component, min_size=1, max_size=3).map("/".join),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    st.sampled_from(["", DIGEST]),
)


@given(references)
@settings(max_examples=200)
def test_what_is_written_is_read_again(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@given(st.text(alphabet="aB9.:/@-_[] ~é\n", max_size=40) | st.text(max_size=20))
@settings(max_examples=400)
def test_any_text_is_a_reference_that_names_a_place_or_a_named_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReferenceError:
        return
    assert parse_reference(str(reference)) == reference
    assert URL(f"https://{reference.registry}/v2/").host
