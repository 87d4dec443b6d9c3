"""What `fita up` and `fita gateway` tell a person when they are ready."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fita.app.state import GatewayState


def announce(state: GatewayState, data_dir: Path) -> None:
    """Print where everything is and what to type next. `data_dir` is the gateway's."""
    from rich.console import Console

    from fita.app.settings import default_data_dir
    from fita.app.state import authority

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if state.kubernetes_version:
        console.print(f"Kubernetes {state.kubernetes_version}   KUBECONFIG={state.kubeconfig or 'as found'}")
    console.print(
        f"Devices         coap://{authority(*state.coap_address)}   nodes are named {state.gateway_name}-ENDPOINT"
    )
    console.print(f"Outputs         {state.http_url}/api/v1/outputs   metrics: {state.http_url}/metrics")
    if state.open_enrolment:
        console.print("Enrolment       open: every device that registers becomes a node", style="yellow")
    else:
        console.print("Enrolment       by `fita device enroll ENDPOINT`")
    if state.kubectl:
        named = data_dir.absolute() == default_data_dir().absolute()
        where = "" if named else f"FITA_DATA_DIR={shlex.quote(str(data_dir))} "
        console.print(
            f"Next            {where}fita kubectl get nodes   (or your own kubectl with that KUBECONFIG)"
        )
