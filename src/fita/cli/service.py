"""`fita service`: build a service from a folder; push, pull, inspect and list artifacts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fita.cli.option import DataDirOption, JsonOption, data_dir_of

if TYPE_CHECKING:
    from fita.oci.inspection import Inspection, PlatformReport
    from fita.oci.layout import LayoutStore
    from fita.oci.reference import Reference

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
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds for the whole transfer.")]
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
    from fita.oci.build.source import SERVICE_FILE_NAME, parse_service_platform
    from fita.oci.builder import build_service

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
        str, typer.Argument(metavar="[TARGET]", help="Its name there; default: the same name.")
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
    items = asyncio.run(_list(_store(store, data_dir)))
    if as_json:
        _write_json({"items": [item if isinstance(item, dict) else item for item in items]})
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
        hint=f"write the registry's name too, like registry.example:5000/{path}",
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
