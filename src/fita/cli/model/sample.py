"""Inputs of a model as files: arrays that `numpy.save` wrote, one for each input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fita.tinyml.graph import Graph
    from fita.tinyml.tensor import Array

_HINT = "write one array for each input with numpy.save"
_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK"


def read_inputs(graph: Graph, paths: Sequence[Path]) -> list[Array]:
    """What the files hold, or random numbers that are the same every time. `ConfigurationError` for no arrays."""
    from fita.tinyml.generate import random_inputs

    return [_read(path) for path in paths] if paths else list(random_inputs(graph, 0))


def _read(path: Path) -> Array:
    import numpy as np

    from fita.base.errors import ConfigurationError

    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            if start.startswith(_ZIP_MAGIC):
                raise ConfigurationError(
                    f"{path} is an archive of arrays (.npz), not one array",
                    hint=f"take the input out: numpy.save('input.npy', numpy.load({str(path)!r})[name])",
                )
            if start != _MAGIC:
                raise ConfigurationError(f"{path} is no .npy file", hint=_HINT)
            file.seek(0)
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or 'it cannot be read'}", hint=_HINT) from error
    except (ValueError, EOFError, MemoryError, OverflowError, TypeError) as error:
        raise ConfigurationError(f"{path} is damaged, or holds no numbers", hint=_HINT) from error
