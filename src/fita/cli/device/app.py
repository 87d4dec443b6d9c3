"""`fita device`: puts its commands together."""

from __future__ import annotations

import typer

from fita.cli.device.enrolment import enroll, list_devices, revoke
from fita.cli.device.simulate import simulate

app = typer.Typer(help="Devices: emulate them on this machine.", no_args_is_help=True)


@app.callback()
def device() -> None:
    """Devices: emulate them on this machine."""


app.command()(simulate)
app.command()(enroll)
app.command()(revoke)
app.command(name="list")(list_devices)
