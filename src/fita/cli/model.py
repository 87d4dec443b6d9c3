"""`fita model`: inspect a quantised model, plan its split, run it in parts, measure speeds."""

from __future__ import annotations

import typer

from fita.cli import model_measure, model_plan, model_run

app = typer.Typer(help="Neural networks in parts over several devices.", no_args_is_help=True)
app.command(name="inspect")(model_plan.inspect)
app.command(name="plan")(model_plan.plan)
app.command(name="run")(model_run.run)
app.command(name="measure")(model_measure.measure)
