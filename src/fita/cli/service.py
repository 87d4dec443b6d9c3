"""`fita service`: build a service from a folder; push, pull, inspect and list artifacts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fita.cli.option import DataDirOption, JsonOption, data_dir_of

if TYPE_CHECKING:
    from fita.oci.inspection import Inspection, PlatformReport, StoreItem
    from fita.oci.layout import LayoutStore
    from fita.oci.reference import Reference
    from fita.oci.registry.client import RemoteRepository

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Services for devices: build, push, pull, inspect, list.")

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The local store, an OCI image layout.", show_default="store in --data-dir"),
]
PlainHttpOption = Annotated[
    bool,
    typer.Option("--plain-http", help="Speak to this registry without TLS (one on this machine always is)."),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for the whole transfer.")]
ReferenceArgument = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="Like average:1 (in the store) or registry:5000/average:1.")
]


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with service.toml and main.py.")],
    tag: Annotated[
        str, typer.Option("--tag", "-t", help="Its name.", show_default="fita.local/<name>:<version>")
    ] = "",
    platform: Annotated[
        list[str] | None,
        typer.Option("--platform", help="Compile for this, like micropython/armv7em/v6; several times: for each."),
    ] = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check and compile the service in DIR and keep it in the local store."""
    from fita.oci.build.builder import build_service
    from fita.oci.build.source import SERVICE_FILE_NAME, parse_service_platform

    wanted = tuple(parse_service_platform(folder / SERVICE_FILE_NAME, name) for name in platform or ())
    reference = _reference(tag) if tag else None
    built = build_service(folder, _store(store, data_dir), reference, wanted)
    for finding in built.findings:
        sys.stderr.write(f"warning: {folder}/{finding}\n")
    platforms = [str(platform) for platform in built.platforms]
    if as_json:
        _write_json(
            {
                "reference": str(built.reference),
                "digest": built.digest,
                "platforms": platforms,
                "size_bytes": built.size_bytes,
                "warnings": [str(finding) for finding in built.findings],
            }
        )
    else:
        _write(f"{built.reference}\n{built.digest}\n{built.size_bytes} bytes for {', '.join(platforms)}")


@app.command()
def push(
    name: ReferenceArgument,
    target: Annotated[
        str, typer.Option("--to", metavar="REFERENCE", help="Its name there.", show_default="the same name")
    ] = "",
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    plain_http: PlainHttpOption = False,
    timeout_s: TimeoutOption = 300.0,
) -> None:
    """Copy a service from the local store to its registry."""
    reference = _reference(name)
    to = _registry_reference(target or str(reference))
    digest = _run(_push(_store(store, data_dir), reference, to, plain_http=plain_http), timeout_s)
    _write(f"{to}\n{digest}")


@app.command()
def pull(
    name: ReferenceArgument,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    plain_http: PlainHttpOption = False,
    timeout_s: TimeoutOption = 300.0,
) -> None:
    """Copy a service from its registry to the local store."""
    reference = _registry_reference(name)
    digest = _run(_pull(_store(store, data_dir), reference, plain_http=plain_http), timeout_s)
    _write(f"{reference}\n{digest}")


@app.command()
def inspect(
    name: ReferenceArgument,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    plain_http: PlainHttpOption = False,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Show what a service is and needs: from the local store if it is there, else from its registry."""
    report = _run(_inspect(_store(store, data_dir), _reference(name), plain_http=plain_http), timeout_s)
    if as_json:
        _write_json(report)
    else:
        _print_inspection(report)


@app.command(name="list")
def list_(store: StoreOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List the services in the local store."""
    from fita.oci.inspection import list_store

    items = asyncio.run(list_store(_store(store, data_dir)))
    if as_json:
        _write_json({"items": items})
    else:
        _print_list(items)


def _store(store: Path | None, data_dir: Path | None) -> LayoutStore:
    from fita.oci.layout import LayoutStore

    return LayoutStore(store if store is not None else data_dir_of(data_dir) / "store")


def _reference(text: str) -> Reference:
    """A name without a registry is one of the local store."""
    from fita.oci.reference import LOCAL_REGISTRY, parse_reference

    return parse_reference(text, default_registry=LOCAL_REGISTRY)


def _registry_reference(text: str) -> Reference:
    from fita.oci.errors import InvalidReferenceError

    reference = _reference(text)
    if not reference.is_local:
        return reference
    path = f"{reference.repository}:{reference.tag}"
    raise InvalidReferenceError(
        f"{reference} is a name of this machine's store and of no registry",
        hint=f"write the registry's name too, like registry.example:5000/{path} (push: with --to)",
    )


def _run(work: Coroutine[object, object, T], timeout_s: float) -> T:
    """The result of `work`; `RegistryUnavailableError` when it takes too long."""
    from fita.oci.errors import RegistryUnavailableError

    async def within() -> T:
        async with asyncio.timeout(timeout_s):
            return await work

    try:
        return asyncio.run(within())
    except TimeoutError as error:
        raise RegistryUnavailableError(
            f"the registry took longer than {timeout_s:g} s", hint="try again, or allow more with --timeout"
        ) from error


async def _push(store: LayoutStore, reference: Reference, target: Reference, *, plain_http: bool) -> str:
    from fita.oci.transfer import push

    async with _repository(target, plain_http=plain_http) as repository:
        return await push(store, reference, repository, target)


async def _pull(store: LayoutStore, reference: Reference, *, plain_http: bool) -> str:
    from fita.oci.transfer import pull_into

    async with _repository(reference, plain_http=plain_http) as repository:
        return await pull_into(store, repository, reference)


async def _inspect(store: LayoutStore, reference: Reference, *, plain_http: bool) -> Inspection:
    from fita.oci.content import StoreSource
    from fita.oci.errors import ArtifactNotFoundError
    from fita.oci.inspection import inspect

    try:
        return await inspect(StoreSource(store), reference)
    except ArtifactNotFoundError:
        if reference.is_local:
            raise
    async with _repository(reference, plain_http=plain_http) as repository:
        return await inspect(repository, reference)


@asynccontextmanager
async def _repository(reference: Reference, *, plain_http: bool) -> AsyncIterator[RemoteRepository]:
    """The repository of `reference`, as the user of this machine."""
    from fita.oci.registry.client import RemoteRepository, open_http
    from fita.oci.registry.credential import default_keychain

    credentials = default_keychain().find(reference)
    insecure = frozenset({reference.registry} if plain_http else ())
    async with open_http() as http:
        yield RemoteRepository(http, reference, credentials=credentials, plain_http=insecure)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write_json(document: object) -> None:
    import msgspec

    _write(msgspec.json.encode(document).decode())


def _print_inspection(report: Inspection) -> None:
    _write(report.reference)
    _write_fields([("digest", report.digest), ("type", report.media_type)])
    for service in report.platforms:
        _write("")
        _write_fields(_fields(service))
    if report.others:
        _write("")
        _write_fields([("computers", ", ".join(report.others))])


def _write_fields(fields: list[tuple[str, str]]) -> None:
    for name, text in fields:
        _write(f"  {name:<10}{text}")


def _fields(service: PlatformReport) -> list[tuple[str, str]]:
    from fita.model.quantity import format_bytes

    fields = [
        ("service", f"{service.name}, version {service.version}, service API {service.api}"),
        ("platform", service.platform),
        ("size", f"{service.code_bytes} bytes of code, {service.download_bytes} bytes to download"),
        ("manifest", service.digest),
        ("memory", format_bytes(service.memory_bytes) if service.memory_bytes else "as the device gives"),
    ]
    lists = [("sensors", service.sensors), ("data model", service.data_model)]
    fields += [(name, ", ".join(values)) for name, values in lists if values]
    for name, ports in (("input", service.inputs), ("output", service.outputs)):
        fields += [(name, f"{p.key} {p.type} {p.unit} {p.data_model_mapping}".strip()) for p in ports]
    return fields


def _print_list(items: list[StoreItem]) -> None:
    from fita.cli.table import print_table

    rows = []
    for item in items:
        size = str(item.code_bytes) if not item.problem else "-"
        rows.append((item.reference, item.digest[:19], size, ", ".join(item.platforms) or item.problem))
    empty = "No services yet. `fita service build DIR` makes one."
    print_table(("REFERENCE", "DIGEST", "SIZE", "PLATFORMS"), rows, empty=empty)
