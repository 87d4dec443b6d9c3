"""The control plane's own tests, of what does not need Kubernetes to be compiled."""

from __future__ import annotations

from fita.base.resource import resource_folder
from fita.localcluster.build.go import Go
from fita.localcluster.command import run_command


async def test_go_tests_pass(go: Go) -> None:
    sources = resource_folder("controlplane")
    report = await run_command(
        [str(go.program), "test", "./internal/..."], cwd=sources, environment=go.environment
    )
    assert [line.split()[0] for line in report.splitlines()] == ["ok", "ok"]
