"""`fita gateway`: the gateway alone, against any cluster."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from fita.cli.option import MAX_PORT, DataDirOption, KubeconfigOption, data_dir_of

NameOption = Annotated[
    str, typer.Option("--name", help="First part of every node's name.", show_default="this host's name")
]
CoapHostOption = Annotated[str, typer.Option("--coap-host", help="Address where devices register.")]
CoapPortOption = Annotated[
    int,
    typer.Option(
        "--coap-port", min=0, max=MAX_PORT, envvar="FITA_COAP_PORT", help="Its UDP port; 0: any free one."
    ),
]
HttpHostOption = Annotated[str, typer.Option("--http-host", help="Address of outputs and metrics.")]
HttpPortOption = Annotated[
    int,
    typer.Option(
        "--http-port", min=0, max=MAX_PORT, envvar="FITA_HTTP_PORT", help="Its TCP port; 0: any free one."
    ),
]
OpenEnrolmentOption = Annotated[
    bool, typer.Option("--open-enrolment", help="Accept every device, not only enrolled ones.")
]

PlainHttpOption = Annotated[
    list[str] | None,
    typer.Option("--plain-http", metavar="REGISTRY", help="A registry without TLS (HOST:PORT); may be repeated."),
]


def gateway(
    kubeconfig: KubeconfigOption = None,
    data_dir: DataDirOption = None,
    name: NameOption = "",
    coap_host: CoapHostOption = "0.0.0.0",
    coap_port: CoapPortOption = 5683,
    http_host: HttpHostOption = "127.0.0.1",
    http_port: HttpPortOption = 8683,
    open_enrolment: OpenEnrolmentOption = False,
    plain_http: PlainHttpOption = None,
) -> None:
    """Run the gateway alone: against a kubeconfig, or in a pod under its service account."""
    from fita.app.gateway import run_gateway
    from fita.app.interrupt import until_interrupted
    from fita.app.settings import GatewaySettings
    from fita.cli.announce import announce

    settings = GatewaySettings(
        data_dir=data_dir_of(data_dir),
        kubeconfig=kubeconfig,
        gateway_name=name,
        coap_host=coap_host,
        coap_port=coap_port,
        http_host=http_host,
        http_port=http_port,
        open_enrolment=open_enrolment,
        plain_http=tuple(plain_http or ()),
    )
    asyncio.run(
        until_interrupted(run_gateway(settings, on_ready=lambda state: announce(state, settings.data_dir)))
    )
