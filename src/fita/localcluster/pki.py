"""The local cluster's certificates: one authority, and certificates for its server and its clients.

Keys are ECDSA on P-256, files are readable by this user only. The authority lasts ten years, everything it signs
one year; `ensure_pki` renews what nears its end or does not fit. It never replaces an authority by itself,
because every kubeconfig and every service account token out there depends on it.

Groups follow https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fita.base.clock import Clock, rfc3339, utc_now
from fita.base.disk import make_folder, write_private
from fita.localcluster.errors import CertificateError, CertificateExpiredError

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
RENEW_BEFORE_DAYS = 120
CLOCK_SKEW = timedelta(hours=1)

GROUP_ADMIN = "system:masters"
GROUP_GATEWAY = "fita:gateways"
USER_GATEWAY = "fita:gateway"

SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

CertificateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client certificate is for: Kubernetes takes its common name as user, its organizations as groups."""

    user: str
    groups: tuple[str, ...] = ()


ADMIN = Identity("fita:admin", (GROUP_ADMIN,))
GATEWAY = Identity(USER_GATEWAY, (GROUP_GATEWAY,))
CONTROLLER_MANAGER = Identity("system:kube-controller-manager")
SCHEDULER = Identity("system:kube-scheduler")
KUBELET_CLIENT = Identity("kube-apiserver-kubelet-client", (GROUP_ADMIN,))


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates with the cluster's authority key."""

    def __init__(self, certificate: x509.Certificate, key: CertificateKey, *, clock: Clock = utc_now) -> None:
        self.certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def create(cls, *, clock: Clock = utc_now) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fita-local-cluster")])
        builder = _builder(name, name, key.public_key(), clock(), clock() + timedelta(days=AUTHORITY_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(sign_certificates=True), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        return cls(builder.sign(key, hashes.SHA256()), key, clock=clock)

    @classmethod
    def load(cls, folder: Path, *, clock: Clock = utc_now) -> Authority:
        """Read ``ca.crt`` and ``ca.key`` of `folder`. Raises `CertificateError`, `CertificateExpiredError`."""
        certificate = _load_certificate(folder / "ca.crt")
        if certificate.not_valid_after_utc <= clock():
            raise CertificateExpiredError(folder / "ca.crt", rfc3339(certificate.not_valid_after_utc))
        key = _load_key(folder / "ca.key")
        if certificate.public_key() != key.public_key():
            raise CertificateError(
                f"{folder / 'ca.key'} is not the key of {folder / 'ca.crt'}",
                hint=f"restore both, or delete {folder}",
            )
        return cls(certificate, key, clock=clock)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def save(self, folder: Path) -> None:
        write_private(folder / "ca.key", _key_pem(self._key))
        write_private(folder / "ca.crt", self.pem)

    def client(self, identity: Identity, *, days: int = LEAF_DAYS) -> KeyPair:
        """A certificate that logs a client in as `identity`."""
        organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
        subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, identity.user)])
        return self._sign(subject, ExtendedKeyUsageOID.CLIENT_AUTH, names=(), days=days)

    def server(self, names: Sequence[str], *, days: int = LEAF_DAYS) -> KeyPair:
        """A certificate for a server that is reached under `names` (host names and IP addresses)."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        return self._sign(subject, ExtendedKeyUsageOID.SERVER_AUTH, names=names, days=days)

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this authority has signed `certificate`."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True

    def _sign(
        self, subject: x509.Name, usage: x509.ObjectIdentifier, *, names: Sequence[str], days: int
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_key = self._key.public_key()
        end = min(self._clock() + timedelta(days=days), self.certificate.not_valid_after_utc)
        builder = _builder(subject, self.certificate.subject, key.public_key(), self._clock(), end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(sign_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(general_names(names)), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def ensure_pki(folder: Path, *, server_names: Sequence[str], clock: Clock = utc_now) -> Authority:
    """Make what is missing in `folder` and renew what nears its end or does not fit; return the authority.

    Writes ``ca``, ``apiserver`` and ``kubelet-client`` (``.crt`` and ``.key``) and ``service-account.key``.
    Raises `CertificateExpiredError` for the authority, `CertificateError` for what cannot be read and
    `DiskError`.
    """
    make_folder(folder)
    if (folder / "ca.crt").exists():
        authority = Authority.load(folder, clock=clock)
    else:
        authority = Authority.create(clock=clock)
        authority.save(folder)
    if not _serves(folder / "apiserver.crt", authority, server_names, clock):
        _save(folder / "apiserver", authority.server(server_names))
    if not is_current(folder / "kubelet-client.crt", authority, clock=clock):
        _save(folder / "kubelet-client", authority.client(KUBELET_CLIENT))
    if not (folder / "service-account.key").exists():
        write_private(folder / "service-account.key", _sec1_pem(ec.generate_private_key(ec.SECP256R1())))
    return authority


def is_current(path: Path, authority: Authority, *, clock: Clock = utc_now) -> bool:
    """Whether the certificate in `path` is of `authority` and far from its end."""
    return path.exists() and pem_is_current(path.read_bytes(), authority, clock=clock)


def pem_is_current(pem: bytes, authority: Authority, *, clock: Clock = utc_now) -> bool:
    """Like `is_current`, for a certificate in hand. What is no certificate is not current."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return False
    renew_at = certificate.not_valid_after_utc - timedelta(days=RENEW_BEFORE_DAYS)
    return clock() < min(renew_at, authority.certificate.not_valid_after_utc) and authority.issued(certificate)


def expires_at(pem: bytes) -> datetime:
    """When a certificate ends. Raises `ValueError` for what is none."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def default_server_names(bind_address: str, service_address: str) -> tuple[str, ...]:
    """Every name a client may use for the API server: this machine, `bind_address`, the Service's names."""
    addresses = ["127.0.0.1", "::1", service_address]
    if not ipaddress.ip_address(bind_address).is_unspecified and bind_address not in addresses:
        addresses.append(bind_address)
    names = ["localhost", *SERVICE_NAMES]
    if (host := socket.gethostname()) not in names:
        names.append(host)
    return (*names, *addresses)


def general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _serves(path: Path, authority: Authority, names: Sequence[str], clock: Clock) -> bool:
    if not is_current(path, authority, clock=clock):
        return False
    extensions = _load_certificate(path).extensions
    alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(alternative) >= set(general_names(names))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(start - CLOCK_SKEW).not_valid_after(end)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _save(stem: Path, pair: KeyPair) -> None:
    write_private(stem.with_suffix(".key"), pair.key)
    write_private(stem.with_suffix(".crt"), pair.certificate)


def _key_pem(key: CertificateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _sec1_pem(key: CertificateKey) -> bytes:
    """RFC 5915: the only private form from which kube-apiserver also takes the public key to check tokens with."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} is not a certificate: {error}", hint=f"delete {path}") from error


def _load_key(path: Path) -> CertificateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(
            f"{path} is not a private key: {error}", hint=f"restore it, or delete {path.parent}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path} is not an ECDSA key", hint=f"restore it, or delete {path.parent}")
    return key
