"""Compiles the kernels in C for every architecture into a folder: `make kernels`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fita.simulator.inference.native_kernel import ARCHITECTURES, NATIVE_MODULE, build_native


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for architecture in ARCHITECTURES:
        target = folder / architecture / f"{NATIVE_MODULE}.mpy"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(build_native(architecture))
        print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
