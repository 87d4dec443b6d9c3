"""What `fita up` and `fita gateway` tell a person when they are ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fita.app.state import GatewayState


def announce(state: GatewayState) -> None:
    """Print where everything is and what to type next."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if state.kubernetes_version:
        console.print(f"Kubernetes {state.kubernetes_version}   KUBECONFIG={state.kubeconfig or 'as found'}")
    host, port = state.coap_address
    console.print(f"Devices         coap://{host}:{port}   nodes are named {state.gateway_name}-ENDPOINT")
    console.print(f"Outputs         {state.http_url}/api/v1/outputs   metrics: {state.http_url}/metrics")
    if state.open_enrolment:
        console.print("Enrolment       open: every device that registers becomes a node", style="yellow")
    else:
        console.print("Enrolment       by `fita device enroll ENDPOINT`")
    if state.kubectl:
        console.print("Next            fita kubectl get nodes   (or your own kubectl with that KUBECONFIG)")
