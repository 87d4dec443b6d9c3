"""`fita kubectl`: the kubectl that comes with the local cluster, already pointed at it."""

from __future__ import annotations

import os

import typer
from typer.core import TyperCommand


class Unparsed(TyperCommand):
    """A command that leaves all of its arguments as they are, ``--`` and ``--help`` included."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        ctx.args = list(args)
        return ctx.args


def kubectl(context: typer.Context) -> None:
    """Run kubectl against the cluster of `fita up`; all arguments are kubectl's own."""
    from fita.app.settings import default_data_dir
    from fita.app.state import require_state
    from fita.base.errors import FitaError

    state = require_state(default_data_dir())
    if not state.kubectl or state.kubeconfig is None:
        raise FitaError(
            "this gateway runs against an existing cluster", hint="use the kubectl and kubeconfig of that cluster"
        )
    environment = {**os.environ, "KUBECONFIG": state.kubeconfig}
    os.execve(state.kubectl, ["kubectl", *context.args], environment)
