"""Debian's docker-registry and skopeo, started by tests; a token server for the former."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

USER, PASSWORD = "anna", "geheim"
# htpasswd -nbB -C 4 anna geheim
HTPASSWD = "anna:$2y$04$2P5nHZPtwBIeMIKtGSjxV.AERRsLxUoXUhb7tFSo26bmat/UByiOy\n"


def program(name: str) -> str:
    """The path of a foreign program; the test fails when it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; `make test` installs it, or: apt-get install {name}")
    return found


def skopeo(*arguments: str | Path) -> str:
    """Run skopeo, without the machine's own policy and logins, and return what it prints."""
    command = [program("skopeo"), "--insecure-policy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(folder: Path, auth: str = "") -> Iterator[str]:
    """A docker-registry on a free port of this machine; its name. `auth` is the section of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: info, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, delete: {{enabled: true}}}}\n"
        f'http: {{addr: "127.0.0.1:0"}}\n{auth}'
    )
    process = subprocess.Popen(
        [program("docker-registry"), "serve", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if match := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                # What it logs from now on is taken off it, so that it never waits for a reader.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield match[1]
                break
        else:
            pytest.fail("docker-registry does not start:\n" + "".join(said[-5:]))
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()


def htpasswd_auth(folder: Path) -> str:
    """A registry's section for one user with a password."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(HTPASSWD)
    return f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"


class TokenServer:
    """Gives the user tokens for what is asked, and anybody tokens to pull.

    Source: https://distribution.github.io/distribution/spec/auth/jwt/
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.scopes: list[str] = []

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[str]:
        """The section of a registry's configuration that names this server."""
        app = web.Application()
        app.router.add_get("/token", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._write_certificate(folder)
            realm = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
            yield (
                f"auth: {{token: {{realm: '{realm}', service: test-registry, issuer: test-issuer, "
                f"rootcertbundle: {folder / 'token.pem'}}}}}\n"
            )
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.scopes.append(request.query["scope"])
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        given = request.headers.get("Authorization", "")
        if given not in ("", expected):
            return web.json_response({}, status=401)
        kind, name, actions = request.query["scope"].split(":")
        allowed = actions.split(",") if given else ["pull"]
        access = [{"type": kind, "name": name, "actions": allowed}]
        return web.json_response({"token": self._token(access, request.query["service"])})

    def _token(self, access: object, audience: str) -> str:
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "kid": self._key_id()}
        claims = {
            "iss": "test-issuer", "sub": USER, "aud": audience, "exp": now + 300, "nbf": now - 10, "iat": now,
            "jti": "1", "access": access,
        }  # fmt: skip
        signed = f"{_base64url(json.dumps(header).encode())}.{_base64url(json.dumps(claims).encode())}"
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def _key_id(self) -> str:
        """libtrust's fingerprint, by which the registry finds the key."""
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
        return ":".join(text[start : start + 4] for start in range(0, len(text), 4))

    def _write_certificate(self, folder: Path) -> None:
        """What the registry trusts: the key in a certificate that it has signed itself."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token server")])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
