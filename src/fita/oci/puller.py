"""How the kubelet gets a service: from the local store, the cache, or a registry.

``fita.local/...`` comes from the local store and never from a network. Anything else comes from its registry,
through a cache by digest; what lies there is verified at every read and fetched again when it is damaged. However
many pods want the same content at once, it is downloaded once. Beyond the client's few attempts nothing is retried
here: the kubelet backs off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from fita.base.backoff import Backoff
from fita.base.errors import ConfigurationError
from fita.model.platform import Platform
from fita.model.service import ServiceArtifact
from fita.oci.cache import ArtifactCache, SingleFlight
from fita.oci.content import ContentSource, StoreSource, load_artifact
from fita.oci.errors import ArtifactNotFoundError, OciError, RegistryUnavailableError, UnauthorizedError
from fita.oci.layout import LayoutStore
from fita.oci.manifest import Content, Descriptor
from fita.oci.reference import DOCKER_HUB, LOCAL_REGISTRY, Reference, parse_reference
from fita.oci.registry.client import RemoteRepository, open_http
from fita.oci.registry.credential import Keychain

POLICY_ALWAYS = "Always"
POLICY_IF_NOT_PRESENT = "IfNotPresent"
POLICY_NEVER = "Never"
DEFAULT_CACHE_LIMIT_BYTES = 256 * 1024 * 1024


class ArtifactSource:
    """All places that services come from. Use ``async with``, or `close` it.

    `keychain` is what this machine may use for any pod; a pod's own credentials come first. `plain_http` are
    registries without TLS besides those on this machine.
    """

    def __init__(
        self,
        *,
        store: Path,
        cache: Path,
        keychain: Keychain | None = None,
        plain_http: frozenset[str] = frozenset(),
        cache_limit_bytes: int = DEFAULT_CACHE_LIMIT_BYTES,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._store = StoreSource(LayoutStore(store))
        self._cache = ArtifactCache(cache, limit_bytes=cache_limit_bytes)
        self._keychain = keychain or Keychain()
        self._plain_http = plain_http
        self._backoff = backoff
        self._flights: SingleFlight[Content] = SingleFlight()
        self._http: aiohttp.ClientSession | None = None

    async def pull(
        self,
        reference: str,
        platform: Platform,
        *,
        pull_policy: str = POLICY_IF_NOT_PRESENT,
        credentials: Keychain | None = None,
    ) -> ServiceArtifact:
        """The service that `reference` names, for a device of `platform`.

        `pull_policy` is Kubernetes': `Always` asks the registry what a tag means now, `IfNotPresent` only when it
        was never asked, `Never` asks nobody. The caller owns the deadline. Raises `InvalidReferenceError`,
        `ArtifactNotFoundError`, `UnauthorizedError`, `IntegrityError`, `UnsupportedArtifactError`,
        `RegistryUnavailableError`, `StoreError`.
        """
        parsed = parse_reference(reference)
        try:
            return await load_artifact(self._source(parsed, pull_policy, credentials), parsed, platform)
        except (ArtifactNotFoundError, UnauthorizedError, RegistryUnavailableError) as error:
            if namesake := await self._local_namesake(parsed):
                error.hint = f"did you mean {namesake}?"
            raise

    async def close(self) -> None:
        """Close the connections to registries."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _local_namesake(self, reference: Reference) -> str:
        """The service of the local store that a name without a registry may have meant; empty: none."""
        if reference.registry != DOCKER_HUB:
            return ""
        repository = reference.repository.removeprefix("library/")
        namesake = Reference(LOCAL_REGISTRY, repository, reference.tag, reference.digest)
        try:
            await self._store.resolve(namesake)
        except OciError:
            return ""
        return str(namesake)

    def _source(self, reference: Reference, pull_policy: str, credentials: Keychain | None) -> ContentSource:
        if pull_policy not in (POLICY_ALWAYS, POLICY_IF_NOT_PRESENT, POLICY_NEVER):
            raise ConfigurationError(
                f"{pull_policy!r} is no image pull policy", hint="write Always, IfNotPresent or Never"
            )
        if reference.is_local:
            return self._store
        if self._http is None:
            self._http = open_http()
        keychain = credentials.then(self._keychain) if credentials is not None else self._keychain
        user = keychain.find(reference)
        remote = RemoteRepository(
            self._http, reference, credentials=user, plain_http=self._plain_http, backoff=self._backoff
        )
        return _CachedRepository(
            remote, cache=self._cache, flights=self._flights, pull_policy=pull_policy, user=user
        )


class _CachedRepository:
    """A `ContentSource` that asks the cache before the registry. `user` keeps apart who may share an answer."""

    def __init__(
        self,
        remote: RemoteRepository,
        *,
        cache: ArtifactCache,
        flights: SingleFlight[Content],
        pull_policy: str,
        user: object,
    ) -> None:
        self._remote = remote
        self._cache = cache
        self._flights = flights
        self._policy = pull_policy
        self._user = user

    async def resolve(self, reference: Reference) -> Content:
        key = (str(reference), self._policy, self._user)
        return await self._flights.run(key, lambda: self._resolve(reference))

    async def fetch(self, reference: Reference, descriptor: Descriptor) -> Content:
        key = (descriptor.digest, descriptor.size, self._user)
        return await self._flights.run(key, lambda: self._fetch(reference, descriptor))

    async def _resolve(self, reference: Reference) -> Content:
        # A digest means the same for ever, so not even `Always` needs the registry for it.
        if self._policy != POLICY_ALWAYS or reference.digest:
            pinned = await asyncio.to_thread(self._cache.pinned, reference)
            if pinned is not None:
                return pinned
        self._require_network(reference)
        content = await self._remote.resolve(reference)
        await asyncio.to_thread(self._cache.pin, reference, content)
        return content

    async def _fetch(self, reference: Reference, descriptor: Descriptor) -> Content:
        data = await asyncio.to_thread(self._cache.read, descriptor.digest)
        if data is not None and len(data) == descriptor.size:
            return Content(descriptor.media_type, data)
        self._require_network(reference)
        content = await self._remote.fetch(reference, descriptor)
        await asyncio.to_thread(self._cache.write, content.data)
        return content

    def _require_network(self, reference: Reference) -> None:
        if self._policy == POLICY_NEVER:
            raise ArtifactNotFoundError(
                str(reference),
                f"{reference} is not on this gateway and the image pull policy is Never",
                hint="use the policy IfNotPresent, or a name of the local store (fita.local/...)",
            )
