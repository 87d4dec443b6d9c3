"""How a registry is satisfied that asks who we are: Basic, or a token from the place that it names.

Credentials leave in clear text only towards registries that are spoken to in clear text anyway (this machine's).
Source: https://distribution.github.io/distribution/spec/auth/token/ and oauth/
"""

from __future__ import annotations

import base64
import re

import aiohttp
import msgspec
from yarl import URL

from fita.oci.errors import IntegrityError, RegistryUnavailableError, UnauthorizedError
from fita.oci.registry.credential import Credentials
from fita.oci.registry.route import proxy_of

_MAX_TOKEN_ANSWER_BYTES = 256 * 1024
_CHALLENGE = re.compile(r"(\w+)(?:\s+(.*))?", re.DOTALL)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Challenge(msgspec.Struct, frozen=True):
    """A ``WWW-Authenticate`` header: the scheme in lower case and its parameters."""

    scheme: str
    parameters: dict[str, str]


class _TokenAnswer(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def parse_challenge(header: str) -> Challenge:
    """The first challenge of a ``WWW-Authenticate`` header (RFC 9110 section 11.6.1); anything else is empty."""
    match = _CHALLENGE.match(header.strip())
    if match is None:
        return Challenge("", {})
    found = _PARAMETER.finditer(match[2] or "")
    return Challenge(match[1].lower(), {m[1].lower(): m[2] if m[2] is not None else m[3] for m in found})


async def authorize(
    http: aiohttp.ClientSession,
    challenge: Challenge,
    *,
    credentials: Credentials | None,
    scope: str,
    allow_http: bool,
) -> str:
    """The ``Authorization`` header that answers `challenge`.

    `scope` is asked for when the registry names none. Raises `UnauthorizedError`, `RegistryUnavailableError`.
    """
    match challenge.scheme:
        case "basic" if credentials is not None:
            return basic(credentials)
        case "basic":
            raise UnauthorizedError("the registry wants a user name and a password", hint=_CREDENTIALS_HINT)
        case "bearer":
            token = await _fetch_token(
                http, challenge, credentials=credentials, scope=scope, allow_http=allow_http
            )
            return f"Bearer {token}"
        case other:
            raise UnauthorizedError(
                f"the registry wants the authentication scheme {other[:40]!r}", hint="Basic and Bearer are known"
            )


_CREDENTIALS_HINT = "give the pod an imagePullSecret, or log in with `skopeo login` or `docker login`"


def basic(credentials: Credentials) -> str:
    """The header of RFC 7617."""
    pair = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


async def _fetch_token(
    http: aiohttp.ClientSession,
    challenge: Challenge,
    *,
    credentials: Credentials | None,
    scope: str,
    allow_http: bool,
) -> str:
    realm = _realm(challenge, allow_http=allow_http)
    query = {"scope": challenge.parameters.get("scope", scope)}
    if service := challenge.parameters.get("service"):
        query["service"] = service
    if credentials is not None and credentials.identity_token:
        form = {
            **query,
            "grant_type": "refresh_token",
            "client_id": "fita",
            "refresh_token": credentials.identity_token,
        }
        request = http.post(realm, data=form, allow_redirects=False, proxy=proxy_of(realm))
    else:
        headers = {"Authorization": basic(credentials)} if credentials is not None else {}
        request = http.get(
            realm.extend_query(query), headers=headers, allow_redirects=False, proxy=proxy_of(realm)
        )
    async with request as response:
        return _token(realm, response.status, await read_limited(response, _MAX_TOKEN_ANSWER_BYTES))


async def read_limited(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The whole body; `IntegrityError` as soon as it is longer than `limit_bytes`."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > limit_bytes:
            raise IntegrityError(
                f"{response.url.host} sends more than the {limit_bytes} bytes expected",
                hint="it was not read further",
            )
    return bytes(body)


def _realm(challenge: Challenge, *, allow_http: bool) -> URL:
    try:
        realm = URL(challenge.parameters.get("realm", ""))
    except ValueError:
        realm = URL()
    if realm.host and (realm.scheme == "https" or (realm.scheme == "http" and allow_http)):
        return realm
    raise RegistryUnavailableError(
        f"the registry names no usable place for tokens: {str(realm)[:200]!r}", hint="it must be an https address"
    )


def _token(realm: URL, status: int, body: bytes) -> str:
    if status in (400, 401, 403):
        raise UnauthorizedError(f"{realm.host} refuses a token for these credentials", hint=_CREDENTIALS_HINT)
    if status != 200:
        raise RegistryUnavailableError(f"{realm.host} answers {status} instead of a token", hint="try again later")
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RegistryUnavailableError(f"{realm.host} answers something else than a token") from error
    token = answer.token or answer.access_token
    if not _TOKEN.fullmatch(token):
        raise RegistryUnavailableError(f"{realm.host} answers without a usable token")
    return token
