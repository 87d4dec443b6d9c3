"""`fita outputs`: the latest values of services, once or as they come."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fita.cli.option import DataDirOption, JsonOption, data_dir_of

if TYPE_CHECKING:
    from fita.app.output_client import OutputClient
    from fita.databus.store import Output


def outputs(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print every new value until interrupted.")
    ] = False,
    url: Annotated[
        str, typer.Option("--url", help="The gateway's HTTP address.", show_default="from --data-dir")
    ] = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the latest value of every output, with its time."""
    from fita.app.output_client import OutputClient
    from fita.app.state import require_state

    client = OutputClient(url or require_state(data_dir_of(data_dir)).http_url)
    if follow:
        asyncio.run(_follow(client, as_json=as_json))
        return
    items = asyncio.run(client.latest())
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode({"items": items}).decode() + "\n")
    else:
        _print_table(items)


def _print_table(items: list[Output]) -> None:
    from fita.cli.table import print_table

    columns = ("NAMESPACE", "POD", "NODE", "OUTPUT", "VALUE", "UNIT", "RECEIVED")
    rows = [
        (
            item.namespace,
            item.pod,
            item.node or item.device,
            f"{item.service}/{item.key}",
            f"{item.value:g}",
            item.unit,
            item.received_at,
        )
        for item in items
    ]
    print_table(columns, rows, empty="No outputs yet.")


async def _follow(client: OutputClient, *, as_json: bool) -> None:
    import msgspec

    async for item in client.follow():
        if as_json:
            line = msgspec.json.encode(item).decode()
        else:
            where = f"{item.namespace}/{item.pod}" if item.pod else item.device
            line = f"{item.received_at}  {where}  {item.service}/{item.key}  {item.value:g} {item.unit}".rstrip()
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
