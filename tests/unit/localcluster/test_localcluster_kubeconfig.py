"""kubeconfigs: kept as long as they log in, made again when they no longer would."""

from __future__ import annotations

import base64
import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from fita.base.clock import utc_now
from fita.localcluster.kubeconfig import client_certificate, ensure_kubeconfig
from fita.localcluster.pki import GATEWAY, LEAF_DAYS, Authority, pem_is_current

SERVER = "https://127.0.0.1:6443"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


def test_content(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "kubeconfig"
    ensure_kubeconfig(path, GATEWAY, authority=authority, server=SERVER)
    config = json.loads(path.read_bytes())
    context = config["contexts"][0]["context"]
    assert config["current-context"] == config["contexts"][0]["name"]
    assert (context["cluster"], context["user"]) == (config["clusters"][0]["name"], config["users"][0]["name"])
    assert config["clusters"][0]["cluster"]["server"] == SERVER
    assert base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]) == authority.pem
    assert pem_is_current(client_certificate(path), authority)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_current_one_is_kept(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "kubeconfig"
    ensure_kubeconfig(path, GATEWAY, authority=authority, server=SERVER)
    before = path.read_bytes()
    ensure_kubeconfig(path, GATEWAY, authority=authority, server=SERVER)
    assert path.read_bytes() == before


def test_another_port_another_authority_or_the_end_make_a_new_one(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "kubeconfig"
    ensure_kubeconfig(path, GATEWAY, authority=authority, server=SERVER)
    for change in (
        {"authority": authority, "server": "https://127.0.0.1:6444"},
        {"authority": Authority.create(), "server": SERVER},
        {"authority": authority, "server": SERVER, "clock": lambda: utc_now() + timedelta(days=LEAF_DAYS)},
    ):
        before = path.read_bytes()
        ensure_kubeconfig(path, GATEWAY, **change)  # type: ignore[arg-type]
        assert path.read_bytes() != before


@pytest.mark.parametrize("content", [b"", b"apiVersion: v1", b'{"clusters":[],"users":[]}', b"{}"])
def test_damaged_one_is_replaced(tmp_path: Path, authority: Authority, content: bytes) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    ensure_kubeconfig(path, GATEWAY, authority=authority, server=SERVER)
    assert pem_is_current(client_certificate(path), authority)
