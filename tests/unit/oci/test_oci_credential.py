from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from fita.base.errors import ConfigurationError
from fita.oci.reference import parse_reference
from fita.oci.registry.authorization import basic, parse_challenge
from fita.oci.registry.credential import Credentials, Keychain, default_keychain, parse_docker_config


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def keychain(auths: dict[str, dict[str, str]]) -> Keychain:
    return parse_docker_config(json.dumps({"auths": auths, "credsStore": "desktop"}).encode())


def user(keychain: Keychain, reference: str) -> str:
    found = keychain.find(parse_reference(reference))
    return found.username if found else ""


def test_reads_what_docker_writes() -> None:
    chain = keychain(
        {
            "ghcr.io": auth("anna", "p:w"),
            "https://index.docker.io/v1/": {"username": "berta", "password": "x"},
            "azure.example": {"identitytoken": "t", **auth("00000000", "")},
            "empty.example": {},
        }
    )
    assert chain.find(parse_reference("ghcr.io/a/b")) == Credentials("anna", "p:w")
    assert user(chain, "busybox") == "berta"
    assert chain.find(parse_reference("azure.example/a")) == Credentials("00000000", "", "t")
    assert chain.find(parse_reference("empty.example/a")) is None


def test_the_narrowest_entry_wins() -> None:
    chain = keychain(
        {
            "r.example:5000": auth("all", ""),
            "r.example:5000/team": auth("team", ""),
            "*.wild.example": auth("wild", ""),
        }
    )
    assert user(chain, "r.example:5000/team/app") == "team"
    assert user(chain, "r.example:5000/team") == "team"
    assert user(chain, "r.example:5000/teams/app") == "all"
    assert user(chain, "r.example/team/app") == ""
    assert user(chain, "a.wild.example/app") == "wild"
    assert user(chain, "a.b.wild.example/app") == ""


def test_a_pods_credentials_come_before_the_machines() -> None:
    pod, machine = keychain({"r.example": auth("pod", "")}), keychain({"r.example/a": auth("machine", "")})
    assert user(pod.then(machine), "r.example/a") == "pod"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"auths": []}',
        b'{"auths": {"r": {"auth": "geheim!"}}}',
        b'{"auths": {"r": {"auth": "/w=="}}}',
    ],
)
def test_refuses_other_forms_without_quoting_them(data: bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_docker_config(data, what="pull secret default/regcred")
    assert "pull secret default/regcred" in caught.value.message
    assert "geheim" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(keychain({"r.example": auth("anna", "hunter2")}))


def write(path: Path, registry: str, name: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {registry: auth(name, "x")}}))


def test_finds_the_logins_of_skopeo_and_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    assert default_keychain() == Keychain()
    write(tmp_path / "docker" / "config.json", "d.example", "docker")
    write(tmp_path / "config" / "containers" / "auth.json", "c.example", "config")
    assert [user(default_keychain(), f"{host}.example/a") for host in "cd"] == ["config", "docker"]
    write(tmp_path / "run" / "containers" / "auth.json", "c.example", "run")
    assert user(default_keychain(), "c.example/a") == "run"
    write(tmp_path / "chosen" / "auth.json", "x.example", "chosen")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "chosen" / "auth.json"))
    assert [user(default_keychain(), f"{host}.example/a") for host in "cx"] == ["", "chosen"]


def test_a_login_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        default_keychain()


def test_reads_challenges() -> None:
    challenge = parse_challenge(
        'Bearer realm="https://a/t?x=\\"1\\"",service=reg, scope="repository:a/b:pull,push"'
    )
    assert challenge.scheme == "bearer"
    assert challenge.parameters["service"] == "reg"
    assert challenge.parameters["scope"] == "repository:a/b:pull,push"
    assert parse_challenge('BASIC realm="x"').scheme == "basic"
    assert parse_challenge("").scheme == parse_challenge('="').scheme == ""


def test_writes_the_basic_header() -> None:
    assert basic(Credentials("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
