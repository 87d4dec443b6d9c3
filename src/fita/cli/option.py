"""Options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar="FITA_DATA_DIR", help="Folder for all state.", show_default="~/.local/share/fita"
    ),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Use this existing cluster.", show_default="$KUBECONFIG, ~/.kube/config"),
]
MAX_PORT = 65535
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def data_dir_of(option: Path | None) -> Path:
    """The folder that was given, else the default one."""
    from fita.app.settings import default_data_dir

    return option.absolute() if option is not None else default_data_dir()
