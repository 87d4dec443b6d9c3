"""Certificates: made once, renewed in time, never replaced behind the user's back."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from fita.localcluster import pki
from fita.localcluster.errors import CertificateError, CertificateExpiredError
from fita.localcluster.pki import ADMIN, GATEWAY, Authority, default_server_names, ensure_pki, expires_at

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAMES = default_server_names("127.0.0.1", "10.96.0.1")


def at(days: float) -> pki.Clock:
    return lambda: NOW + timedelta(days=days)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_everything_is_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    ensure_pki(folder, server_names=NAMES, clock=at(0))
    first = contents(folder)
    assert set(first) == {
        "ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "kubelet-client.crt", "kubelet-client.key",
        "service-account.key",
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    ensure_pki(folder, server_names=NAMES, clock=at(pki.LEAF_DAYS - pki.RENEW_BEFORE_DAYS - 1))
    assert contents(folder) == first


@pytest.mark.parametrize("days", [pki.LEAF_DAYS - pki.RENEW_BEFORE_DAYS + 1, pki.LEAF_DAYS + 100])
def test_what_nears_its_end_or_has_ended_is_renewed(tmp_path: Path, days: int) -> None:
    ensure_pki(tmp_path, server_names=NAMES, clock=at(0))
    before = contents(tmp_path)
    ensure_pki(tmp_path, server_names=NAMES, clock=at(days))
    after = contents(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"apiserver.crt", "apiserver.key", "kubelet-client.crt", "kubelet-client.key"}
    assert expires_at(after["apiserver.crt"]) > NOW + timedelta(days=days + 300)


def test_expired_authority_is_named_and_kept(tmp_path: Path) -> None:
    ensure_pki(tmp_path, server_names=NAMES, clock=at(0))
    before = contents(tmp_path)
    with pytest.raises(CertificateExpiredError, match=r"ca\.crt expired on 2036-11-21T12:00:00Z") as caught:
        ensure_pki(tmp_path, server_names=NAMES, clock=at(pki.AUTHORITY_DAYS + 1))
    assert f"delete the folder {tmp_path}" in caught.value.hint
    assert contents(tmp_path) == before


def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    ensure_pki(tmp_path, server_names=NAMES, clock=at(0))
    authority = ensure_pki(tmp_path, server_names=NAMES, clock=at(pki.AUTHORITY_DAYS - 10))
    assert expires_at((tmp_path / "apiserver.crt").read_bytes()) == authority.certificate.not_valid_after_utc


def test_a_new_server_name_renews_only_the_server_certificate(tmp_path: Path) -> None:
    ensure_pki(tmp_path, server_names=NAMES, clock=at(0))
    before = contents(tmp_path)
    ensure_pki(tmp_path, server_names=(*NAMES, "192.168.1.20"), clock=at(1))
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"apiserver.crt", "apiserver.key"}
    names = x509.load_pem_x509_certificate(after["apiserver.crt"]).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert set(names.value) == set(pki.general_names((*NAMES, "192.168.1.20")))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ca.crt", b"no certificate", "ca.crt is not a certificate"),
        ("ca.key", b"no key", "ca.key is not a private key"),
    ],
)
def test_damaged_authority_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    ensure_pki(tmp_path, server_names=NAMES, clock=at(0))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CertificateError, match=says):
        ensure_pki(tmp_path, server_names=NAMES, clock=at(0))


def test_foreign_authority_key_is_named(tmp_path: Path) -> None:
    ensure_pki(tmp_path / "a", server_names=NAMES)
    ensure_pki(tmp_path / "b", server_names=NAMES)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(CertificateError, match="is not the key of"):
        ensure_pki(tmp_path / "a", server_names=NAMES)


def test_damaged_leaf_is_made_again(tmp_path: Path) -> None:
    authority = ensure_pki(tmp_path, server_names=NAMES)
    (tmp_path / "apiserver.crt").write_bytes(b"")
    ensure_pki(tmp_path, server_names=NAMES)
    assert pki.is_current(tmp_path / "apiserver.crt", authority)


@pytest.mark.parametrize(
    ("identity", "user", "groups"),
    [(ADMIN, "fita:admin", ["system:masters"]), (GATEWAY, "fita:gateway", ["fita:gateways"])],
)
def test_client_certificate_names_user_and_groups(identity: pki.Identity, user: str, groups: list[str]) -> None:
    authority = Authority.create()
    certificate = x509.load_pem_x509_certificate(authority.client(identity).certificate)
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups
    usage = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert authority.issued(certificate)
    assert not Authority.create().issued(certificate)
