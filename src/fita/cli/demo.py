"""`fita demo`: the demonstrations."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fita.cli.option import JsonOption

if TYPE_CHECKING:
    from fita.app.state import GatewayState

app = typer.Typer(help="Show the whole system at work on this machine.", no_args_is_help=True)


@app.callback()
def demo() -> None:
    """Show the whole system at work on this machine."""


@app.command()
def temperature(
    as_json: JsonOption = False,
    keep: Annotated[bool, typer.Option("--keep", help="Go on running at the end, until interrupted.")] = False,
) -> None:
    """Two devices join as nodes; a service is deployed, scaled, updated and removed by kubectl."""
    import msgspec

    from fita.app.interrupt import until_interrupted
    from fita.cli.progress import BuildProgressBar
    from fita.demo.stage import Stage
    from fita.demo.temperature import run_temperature
    from fita.localcluster.build.compilation import ensure_built

    with BuildProgressBar() as progress:
        asyncio.run(ensure_built(on_progress=progress.show))

    async def work() -> None:
        report = await run_temperature(Stage(quiet=as_json), keep=_tell_how_to_look if keep else None)
        if as_json:
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")

    asyncio.run(until_interrupted(work()))


def _tell_how_to_look(gateway: GatewayState) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("Everything goes on running until you press Ctrl-C. In another terminal:")
    console.print(f"  export KUBECONFIG={gateway.kubeconfig}", markup=False)
    console.print(f"  {gateway.kubectl} get nodes,pods -o wide", markup=False)
    console.print(f"  fita outputs -f --url {gateway.http_url}", markup=False)
