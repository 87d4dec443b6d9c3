"""The Go that compiles the control plane, for tests of what is done with it."""

from __future__ import annotations

import asyncio

import pytest

from fita.base.resource import resource_folder
from fita.localcluster.build.binary import default_cache_dir
from fita.localcluster.build.go import Go, find_go
from fita.localcluster.build.progress import ignore_progress


@pytest.fixture(scope="session")
def go() -> Go:
    """Installed or fetched as for the control plane itself, so that a machine without Go fetches it only once."""
    return asyncio.run(find_go(resource_folder("controlplane"), default_cache_dir(), on_progress=ignore_progress))


@pytest.fixture
def go_on_path(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same Go with the same caches for code that looks for it itself."""
    monkeypatch.setenv("PATH", str(go.program.parent), prepend=":")
    for name in ("GOCACHE", "GOMODCACHE"):
        if name in go.environment:
            monkeypatch.setenv(name, go.environment[name])
