"""Who a request is made as: fixed, from a file that is replaced now and then, or from a login program.

Nothing here talks to the API server. The client asks for `login()` before each request, and tells by `expire()`
when the server did not accept it.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Protocol

import msgspec

from fita.base.clock import Clock, utc_now
from fita.kube.errors import CredentialPluginError, KubeconfigError

TOKEN_FILE_LIFETIME = timedelta(minutes=1)
"""How long a token from a file is used before the file is read again, as in Kubernetes' own client."""

RENEW_BEFORE = timedelta(seconds=10)
"""How long before its end a login is renewed, so that no request travels with one that ends on the way."""

PLUGIN_TIMEOUT_S = 60.0
"""A login program may ask a slow cloud; one that waits for a person never ends."""

_MAX_SAID_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Login:
    """What one request shows: an Authorization header or "", and a TLS context or None for the cluster's own."""

    authorization: str = ""
    tls: ssl.SSLContext | None = None
    valid_until: datetime | None = None


class Credential(Protocol):
    """Who requests are made as."""

    async def login(self) -> Login:
        """What the next request shows. Raises `KubeconfigError` when there is nothing to show."""
        ...

    def expire(self, login: Login) -> bool:
        """The server refuses `login`: forget it. True when another one may be had, so trying again makes sense."""
        ...


@dataclass(frozen=True, slots=True)
class FixedCredential:
    """What stands in the kubeconfig itself."""

    fixed: Login = Login()

    async def login(self) -> Login:
        return self.fixed

    def expire(self, login: Login) -> bool:
        return False


@dataclass(slots=True)
class RenewedCredential:
    """A login that is made again by `renew` when it nears its end or was refused."""

    renew: Callable[[], Awaitable[Login]]
    clock: Clock = utc_now
    _current: Login | None = None
    # Held while a file is read or a local program runs, never over the network: one renewal serves all requests.
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def login(self) -> Login:
        if (current := self._fresh()) is not None:
            return current
        async with self._renewing:
            if (current := self._fresh()) is None:
                current = self._current = await self.renew()
            return current

    def expire(self, login: Login) -> bool:
        if self._current is login:
            self._current = None
        return True

    def _fresh(self) -> Login | None:
        login = self._current
        if login is None or (login.valid_until and self.clock() >= login.valid_until - RENEW_BEFORE):
            return None
        return login


def token_file(path: Path, *, tls: ssl.SSLContext | None = None, clock: Clock = utc_now) -> RenewedCredential:
    """A bearer token in a file that something else replaces, like the kubelet for a pod's service account."""

    async def renew() -> Login:
        return Login(f"Bearer {read_token(path)}", tls, clock() + TOKEN_FILE_LIFETIME)

    return RenewedCredential(renew, clock)


def read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"the token cannot be read: {error}", path=path) from error
    if not token:
        raise KubeconfigError("the token file is empty", path=path, hint="put the token into it")
    return token


class PluginStatus(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class PluginAnswer(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: PluginStatus | None = None


CertificateLogin = Callable[[bytes, bytes], ssl.SSLContext]
"""Makes the TLS context for a certificate and its key, both PEM."""


@dataclass(frozen=True, slots=True)
class CredentialPlugin:
    """A program that prints an ExecCredential, as managed clusters use for logging in."""

    api_version: str
    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    install_hint: str
    kubeconfig: Path
    cluster: Mapping[str, object] | None = None

    async def run(self, with_certificate: CertificateLogin) -> Login:
        """Run the program and read what it prints. Raises `CredentialPluginError`."""
        output = await self._output()
        try:
            answer = msgspec.json.decode(output, type=PluginAnswer)
        except msgspec.DecodeError as error:
            raise self._error(f"does not print an ExecCredential: {error}") from error
        if answer.kind != "ExecCredential" or answer.api_version != self.api_version:
            raise self._error(
                f"prints {answer.api_version} {answer.kind} instead of {self.api_version} ExecCredential",
                hint="bring the program and the kubeconfig's apiVersion for it to the same version",
            )
        return self._login(answer.status or PluginStatus(), with_certificate)

    def _login(self, status: PluginStatus, with_certificate: CertificateLogin) -> Login:
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise self._error("prints a certificate without its key, or the other way round")
        if not status.token and not status.client_certificate_data:
            raise self._error("prints no token and no certificate")
        tls = None
        if status.client_certificate_data:
            tls = with_certificate(status.client_certificate_data.encode(), status.client_key_data.encode())
        until = status.expiration_timestamp
        if until is not None and until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return Login(f"Bearer {status.token}" if status.token else "", tls, until)

    async def _output(self) -> bytes:
        # Not asyncio's own subprocesses: cancelled while they start, they wait for whoever else holds the pipes.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as said:
            process = self._start(output, said)
            try:
                async with asyncio.timeout(PLUGIN_TIMEOUT_S):
                    status = await asyncio.to_thread(process.wait)
            except TimeoutError as error:
                raise self._error(f"did not end within {PLUGIN_TIMEOUT_S:.0f} s", hint=_LOGIN_HINT) from error
            finally:
                _end(process)
            if status != 0:
                words = _content(said).decode("utf-8", "replace").strip()[-_MAX_SAID_CHARACTERS:]
                raise self._error(f"ended with status {status}: {words}", hint=_LOGIN_HINT)
            return _content(output)

    def _start(self, output: IO[bytes], said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [self._program(), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=said,
                env={**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": self._exec_info()},
                start_new_session=True,
            )
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror}") from error

    def _program(self) -> str:
        """The program's path; one that is written with a slash is relative to the kubeconfig."""
        if os.sep in self.command:
            found = shutil.which(self.kubeconfig.parent / self.command)
        else:
            found = shutil.which(self.command, path=self.environment.get("PATH"))
        if found is None:
            raise self._error("is not installed", hint=self.install_hint or "install it, or put it into the PATH")
        return str(found)

    def _exec_info(self) -> str:
        spec: dict[str, object] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        info = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        return msgspec.json.encode(info).decode()

    def _error(self, problem: str, *, hint: str = "") -> CredentialPluginError:
        return CredentialPluginError(
            f"the login program {self.command} {problem}", path=self.kubeconfig, hint=hint
        )


_LOGIN_HINT = "run it by hand and log in where it asks for that"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind that the program started, also when the wait for it was given up."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
