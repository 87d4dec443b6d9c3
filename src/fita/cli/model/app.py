"""`fita model`: inspect a quantised model, plan its split, run it in parts, measure speeds."""

from __future__ import annotations

import typer

from fita.cli.model import measure, plan, run

app = typer.Typer(help="Neural networks in parts over several devices.", no_args_is_help=True)
app.command(name="inspect")(plan.inspect)
app.command(name="plan")(plan.plan)
app.command(name="run")(run.run)
app.command(name="measure")(measure.measure)
