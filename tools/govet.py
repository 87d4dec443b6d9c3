"""Check the Go sources with the same Go that compiles the control plane: gofmt and go vet.

``python -m tools.govet`` prints every finding and exits 1 when there is one. `go vet` would first look for
functions like printf in all 2,700 packages below the program, which takes minutes. So the program's own package is
given to it as one compilation unit (golang.org/x/tools/go/analysis/unitchecker.Config) with the others' types
as compiled. On a new machine that compiles them; the next compilation of the control plane takes seconds then.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import msgspec

from fita.base.errors import FitaError
from fita.localcluster.build.binary import default_cache_dir
from fita.localcluster.build.go import Go, find_go
from fita.localcluster.build.progress import BuildProgress
from fita.localcluster.command import CommandFailedError, run_command

SOURCES = Path(__file__).resolve().parent.parent / "controlplane"


class Package(msgspec.Struct, rename="pascal"):
    """What ``go list`` tells of a package. `export` is the file with its types."""

    import_path: str
    dir: str
    go_files: list[str] = []
    export: str = ""
    import_map: dict[str, str] = {}
    dep_only: bool = False


def show(progress: BuildProgress) -> None:
    print(progress.stage.value, file=sys.stderr)


async def check() -> list[str]:
    """Every finding, one a line."""
    go = await find_go(SOURCES, default_cache_dir(), on_progress=show)
    unformatted = await run_command([str(go.gofmt), "-l", "."], cwd=SOURCES, environment=go.environment)
    findings = [f"controlplane/{name}: not formatted, run gofmt -w" for name in unformatted.split()]
    with tempfile.TemporaryDirectory(prefix="govet-") as folder:
        unit = await write_unit(go, Path(folder))
        for arguments in (("vet", "./internal/..."), ("tool", "vet", unit)):
            try:
                await run_go(go, *arguments)
            except CommandFailedError as error:
                findings += error.lines
    return findings


async def write_unit(go: Go, folder: Path) -> str:
    """Describe the program's package to vet, in a file in `folder`; its path."""
    fields = "-json=ImportPath,Dir,GoFiles,Export,ImportMap,DepOnly"
    listing = await run_go(go, "list", "-export", "-deps", fields, ".")
    objects = "[" + listing.replace("\n}\n{", "\n},{") + "]"
    packages = msgspec.json.decode(objects, type=list[Package])
    unit = next(package for package in packages if not package.dep_only)
    files = {package.import_path: package.export for package in packages if package.export}
    config = {
        "ID": unit.import_path,
        "Compiler": "gc",
        "Dir": unit.dir,
        "ImportPath": unit.import_path,
        "GoFiles": [str(Path(unit.dir) / name) for name in unit.go_files],
        "ImportMap": {path: path for path in files} | unit.import_map,
        "PackageFile": files,
        "VetxOutput": str(folder / "unit.vetx"),
        "GoVersion": f"go{go.version[0]}.{go.version[1]}",
    }
    path = folder / "unit.cfg"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


async def run_go(go: Go, *arguments: str) -> str:
    return await run_command([str(go.program), *arguments], cwd=SOURCES, environment=go.environment)


def main() -> int:
    try:
        findings = asyncio.run(check())
    except FitaError as error:
        findings = [str(error)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
