"""Entry point of `fita`: puts the commands together and turns errors into a message and a hint.

Exit codes: 0 done, 1 a named error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from fita import __version__
from fita.base.errors import named_error
from fita.base.extra import missing_extra
from fita.cli import demo, gateway, kubectl, outputs, service, status, up
from fita.cli.device import app as device
from fita.cli.model import app as model

app = typer.Typer(
    name="fita",
    help="Microcontroller devices as ordinary nodes of a Kubernetes cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command(name="up")(up.up)
app.command(name="status")(status.status)
app.command(name="down")(status.down)
app.command(name="gateway")(gateway.gateway)
app.command(name="outputs")(outputs.outputs)
app.command(name="kubectl", cls=kubectl.Unparsed, add_help_option=False)(kubectl.kubectl)
app.add_typer(device.app, name="device")
app.add_typer(service.app, name="service")
app.add_typer(model.app, name="model")
app.add_typer(demo.app, name="demo")

_settings = {"verbosity": 0}


@app.callback(invoke_without_command=True)
def common(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="More log lines; twice: all.")] = 0,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON objects.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options before the command hold for every command."""
    if version:
        typer.echo(f"fita {__version__}")
        raise typer.Exit
    from fita.base.logging import configure_logging

    _settings["verbosity"] = verbose
    configure_logging(verbosity=verbose, as_json=log_json)


def main() -> None:
    """Run the command line. A traceback is shown only with ``-v``."""
    try:
        app()
    except Exception as error:
        named = named_error(error) or missing_extra(error)
        if named is None or _settings["verbosity"]:
            raise
        fail(named.message, named.hint)
    except KeyboardInterrupt:
        sys.exit(130)


def fail(message: str, hint: str) -> None:
    """Say what went wrong and what to do, and exit with 1."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(message, markup=False)
    if hint:
        console.print("hint:", style="bold", end=" ")
        console.print(hint, markup=False)
    sys.exit(1)
