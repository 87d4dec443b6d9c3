"""Fetches a MicroPython for 32-bit ARM: ``python -m tools.micropython_arm build/micropython-armhf``.

It is Debian's package `micropython` for armhf with the libraries that it needs, unpacked into the folder, for QEMU
to run. Its native code is Thumb-2, as on Cortex-M, so it takes the very files that microcontrollers take. Debian
12 has no such package: it comes from `testing` or `unstable`, through apt with lists and a cache of its own.
Nothing else on this machine changes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ARCHITECTURE = "armhf"
PACKAGE = "micropython"
SUITES = ("testing", "unstable", "testing", "unstable")
"""Tried in turn: while a mirror is being brought up to date, its lists contradict each other."""
DEADLINE_S = 300
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_OF_DEBIAN = ("--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian", "Component: main")


def interpreter(folder: Path) -> list[str]:
    """The command that runs what was fetched into the folder."""
    return ["qemu-arm", "-L", str(folder), str(folder / "usr" / "bin" / PACKAGE)]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} took longer than {DEADLINE_S} s")


def find_mirror() -> str:
    """Where this machine gets Debian's packages from; empty when it does not."""
    if _run(["apt-get", "indextargets", *_OF_DEBIAN]).stdout == "" and os.geteuid() == 0:
        _run(["apt-get", "update"])
    return next(iter(_run(["apt-get", "indextargets", *_OF_DEBIAN]).stdout.split()), "")


def apt_options(state: Path) -> list[str]:
    """Makes apt-get work in an empty folder, as on a machine of the other architecture with nothing installed."""
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    chosen = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
    }
    return [word for name, value in chosen.items() for word in ("-o", f"{name}={value}")]


def download(mirror: str, suite: str, state: Path) -> str:
    """The package and its libraries into the folder's cache; what apt-get says when that fails."""
    options = apt_options(state)
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    (state / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n", encoding="ascii")
    install = ["install", "--yes", "--download-only", "--no-install-recommends", PACKAGE]
    for order in (["update"], install):
        done = _run(["apt-get", *options, *order])
        if done.returncode:
            return f"{suite}: {done.stderr.strip()}"
    return ""


def unpack(archives: Path, folder: Path) -> None:
    """Into a folder that is there at once or not at all."""
    half = folder.with_name(folder.name + ".new")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", archive, half], timeout=DEADLINE_S, check=True)
    if not (half / "lib").exists():
        (half / "lib").symlink_to("usr/lib")
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)


def fetch(folder: Path) -> str:
    """Empty when the interpreter is in the folder, else why it is not."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "apt-get and dpkg-deb are missing: run this on Debian"
    mirror = find_mirror()
    if not mirror:
        return "apt-get knows no mirror of Debian: run this on Debian, after `apt-get update`"
    refusals = []
    for suite in SUITES:
        with TemporaryDirectory(prefix="fita-apt-") as name:
            refusal = download(mirror, suite, Path(name))
            if not refusal:
                unpack(Path(name) / "cache" / "archives", folder)
                return ""
        refusals.append(refusal)
    return "\n".join(refusals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    refusal = fetch(folder)
    if refusal:
        sys.exit(f"there is no {PACKAGE} for {ARCHITECTURE} now:\n{refusal}")
    print(f"{interpreter(folder)[-1]}: {PACKAGE} for {ARCHITECTURE}")


if __name__ == "__main__":
    main()
