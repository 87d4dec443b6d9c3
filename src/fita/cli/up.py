"""`fita up`: a real Kubernetes on this machine and the gateway with it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from fita.cli.gateway import (
    CoapHostOption,
    CoapPortOption,
    HttpHostOption,
    HttpPortOption,
    NameOption,
    OpenEnrolmentOption,
    PlainHttpOption,
)
from fita.cli.option import MAX_PORT, DataDirOption, KubeconfigOption, data_dir_of


def up(
    data_dir: DataDirOption = None,
    kubeconfig: KubeconfigOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Go on in the background.")] = False,
    api_port: Annotated[
        int,
        typer.Option(
            "--api-port", min=0, max=MAX_PORT, help="Port of the API server; 0: the last one, or a free one."
        ),
    ] = 0,
    name: NameOption = "",
    coap_host: CoapHostOption = "0.0.0.0",
    coap_port: CoapPortOption = 5683,
    http_host: HttpHostOption = "127.0.0.1",
    http_port: HttpPortOption = 8683,
    open_enrolment: OpenEnrolmentOption = False,
    plain_http: PlainHttpOption = None,
) -> None:
    """Start a local Kubernetes and the gateway; stay until interrupted.

    The first start compiles Kubernetes (about 5 minutes on 2 cores) and keeps it for the next ones.
    With --kubeconfig no cluster is started and the gateway uses that one; nothing is applied to it.
    """
    from fita.app.interrupt import until_interrupted
    from fita.app.settings import GatewaySettings
    from fita.cli.announce import announce
    from fita.cli.progress import BuildProgressBar

    settings = GatewaySettings(
        data_dir=data_dir_of(data_dir),
        kubeconfig=kubeconfig.absolute() if kubeconfig else None,
        gateway_name=name,
        coap_host=coap_host,
        coap_port=coap_port,
        http_host=http_host,
        http_port=http_port,
        open_enrolment=open_enrolment,
        plain_http=tuple(plain_http or ()),
    )
    with BuildProgressBar() as progress:
        if detach:
            from fita.app.detached import run_detached

            state = asyncio.run(run_detached(settings, api_port=api_port, on_progress=progress.show))
            announce(state, settings.data_dir)
            return
        from fita.app.up import run_up

        work = run_up(
            settings,
            api_port=api_port,
            on_progress=progress.show,
            on_ready=lambda state: announce(state, settings.data_dir),
        )
        asyncio.run(until_interrupted(work))
