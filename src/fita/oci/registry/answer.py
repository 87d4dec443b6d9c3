"""What a registry has answered, and the named error that a refusal or a broken connection means.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import aiohttp
import msgspec
from yarl import URL

from fita.oci.errors import (
    ArtifactNotFoundError,
    OciError,
    RegistryUnavailableError,
    UnauthorizedError,
)
from fita.oci.reference import Reference

_MAX_WAIT_S = 20.0
_MAX_WORDS = 200


class Answer(msgspec.Struct, frozen=True):
    """A response that has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: URL

    @property
    def media_type(self) -> str:
        """What the content says it is; older manifests leave that to the header."""
        try:
            said = msgspec.json.decode(self.body, type=_Typed).media_type
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = ""
        return said or self.headers.get("Content-Type", "").partition(";")[0].strip()

    @property
    def location(self) -> URL:
        """Where the registry sends us; an empty address when it names none."""
        try:
            return self.url.join(URL(self.headers.get("Location", ""), encoded=True))
        except ValueError:
            return URL()

    @property
    def retry_after_s(self) -> float:
        """How long the registry asks to wait (RFC 9110 section 10.2.3), within reason; 0 when it does not say."""
        said = self.headers.get("Retry-After", "").strip()
        return min(float(said), _MAX_WAIT_S) if re.fullmatch(r"[0-9]{1,9}", said) else 0.0

    @property
    def words(self) -> str:
        """The registry's own explanation, shortened, after a colon; or nothing."""
        try:
            errors = msgspec.json.decode(self.body, type=_ErrorBody).errors
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        words = "; ".join(" ".join((item.code, item.message)).strip() for item in errors[:3])
        return f": {words[:_MAX_WORDS]}" if words else ""


class _Typed(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""


class _ErrorItem(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    errors: list[_ErrorItem] = []


def refusal(answer: Answer, reference: Reference, *, known: bool, pushing: bool) -> OciError:
    """The error for an `answer` that is not the expected one. `known`: credentials were given."""
    registry = reference.registry
    match answer.status:
        case 401 | 403:
            who = "these credentials" if known else "anybody without credentials"
            return UnauthorizedError(
                f"{registry} refuses {reference} to {who}{answer.words}",
                hint="give the pod an imagePullSecret, or log in with `skopeo login` or `docker login`",
            )
        case 404 | 405 if pushing:
            return RegistryUnavailableError(
                f"{registry} does not take {reference.name}{answer.words}",
                hint="it may be read-only, or want the repository to be made first",
            )
        case 404:
            return ArtifactNotFoundError(
                str(reference),
                f"{registry} does not have {reference}{answer.words}",
                hint="check the name and the tag; `fita service push` puts it there",
            )
        case 429:
            return RegistryUnavailableError(
                f"{registry} limits how often it may be asked{answer.words}",
                hint="try again later; logged in, one may often ask more",
            )
    return RegistryUnavailableError(f"{registry} answers {answer.status}{answer.words}", hint="try again later")


def broken(url: URL, error: Exception) -> RegistryUnavailableError:
    """The error for a request to `url` that got no whole answer."""
    reason = str(error) or type(error).__name__
    match error:
        case aiohttp.ClientConnectorError(os_error=cause) if not isinstance(error, aiohttp.ClientSSLError):
            # aiohttp's own words speak of TLS even where there is none.
            reason = cause.strerror or str(cause) or reason
            hint = "check the registry's name and port, and the network"
        case aiohttp.ClientSSLError():
            hint = "its certificate must be signed by an authority that this machine trusts (SSL_CERT_FILE)"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return RegistryUnavailableError(
                f"{url.host} broke off in the middle: {reason}", hint="try again later"
            )
        case _:
            hint = "check the registry's name and port, and the network"
    return RegistryUnavailableError(f"{url.host} cannot be reached: {reason}", hint=hint)
