from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from oci_sample import DEVICE, PORTABLE, artifact_of

from fita.oci.errors import ArtifactNotFoundError, IntegrityError, StoreError, StoreFullError
from fita.oci.layout import LayoutStore
from fita.oci.manifest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Content
from fita.oci.reference import Reference, parse_reference

ONE = parse_reference("fita.local/average:1")
TWO = parse_reference("fita.local/average:2")


def by_digest(reference: Reference, digest: str) -> Reference:
    return Reference(reference.registry, reference.repository, "", digest)


def test_keeps_artifacts_by_name_and_digest(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "store")
    digest = store.put(ONE, [artifact_of(version=1)])
    other = store.put(TWO, [artifact_of(version=2)])
    assert store.references() == [str(ONE), str(TWO)]
    assert store.resolve(ONE).digest == digest
    assert store.resolve(by_digest(ONE, other)).digest == other


def test_is_an_oci_image_layout(tmp_path: Path) -> None:
    digest = LayoutStore(tmp_path).put(ONE, [artifact_of()])
    assert json.loads((tmp_path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "fita.local/average:1"}
    assert (tmp_path / "blobs" / "sha256" / digest.removeprefix("sha256:")).is_file()


def test_joins_platforms_and_finds_each_by_its_digest(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    artifacts = [artifact_of(PORTABLE), artifact_of(DEVICE)]
    digest = store.put(ONE, artifacts)
    assert store.resolve(ONE).media_type == MEDIA_TYPE_INDEX
    for reference in (by_digest(ONE, artifact.manifest.digest) for artifact in artifacts):
        assert store.resolve(reference).media_type == MEDIA_TYPE_MANIFEST
    assert store.resolve(by_digest(ONE, digest)).media_type == MEDIA_TYPE_INDEX


def test_what_a_name_meant_before_is_still_there_by_digest(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    old = store.put(ONE, [artifact_of(version=1)])
    new = store.put(ONE, [artifact_of(version=2)])
    assert store.references() == [str(ONE)]
    assert store.resolve(ONE).digest == new
    assert store.resolve(by_digest(ONE, old)).digest == old
    assert store.put(ONE, [artifact_of(version=1)]) == old
    assert store.resolve(ONE).digest == old


def test_says_what_is_missing(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "store")
    assert store.references() == []
    with pytest.raises(ArtifactNotFoundError) as caught:
        store.resolve(ONE)
    assert "fita service build" in caught.value.hint
    with pytest.raises(ArtifactNotFoundError) as caught:
        store.resolve(parse_reference("ghcr.io/a/b:1"))
    assert "fita service pull" in caught.value.hint
    with pytest.raises(ArtifactNotFoundError):
        store.resolve(by_digest(ONE, "sha256:" + "0" * 64))


def blob_path(root: Path, digest: str) -> Path:
    return root / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_damaged_content_is_never_used_and_mended_by_the_next_build(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    artifact = artifact_of()
    store.put(ONE, [artifact])
    path = blob_path(tmp_path, artifact.layer.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError):
        store.read(ONE, artifact.layer.descriptor())
    store.put(ONE, [artifact])
    assert store.read(ONE, artifact.layer.descriptor()) == artifact.layer.data
    path.unlink()
    with pytest.raises(ArtifactNotFoundError, match="lacks its part"):
        store.read(ONE, artifact.layer.descriptor())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"schemaVersion": 2, "manifests": [{"digest": "x"}]}'])
def test_a_damaged_index_is_named_and_not_overwritten(tmp_path: Path, data: bytes) -> None:
    store = LayoutStore(tmp_path)
    store.put(ONE, [artifact_of()])
    (tmp_path / "index.json").write_bytes(data)
    for work in (store.references, lambda: store.resolve(ONE), lambda: store.put(TWO, [artifact_of()])):
        with pytest.raises(StoreError, match="no index of an OCI layout") as caught:
            work()
        assert caught.value.hint
    assert (tmp_path / "index.json").read_bytes() == data


def test_a_full_disk_is_named_and_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LayoutStore(tmp_path)
    store.put(ONE, [artifact_of(version=1)])
    before = (tmp_path / "index.json").read_bytes()
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError) as caught:
        store.put(TWO, [artifact_of(version=2)])
    monkeypatch.setattr(os, "fsync", real)
    assert "free some space" in caught.value.hint
    assert (tmp_path / "index.json").read_bytes() == before
    assert not list(tmp_path.rglob(".partial-*"))
    store.put(TWO, [artifact_of(version=2)])
    assert store.references() == [str(ONE), str(TWO)]


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LayoutStore(tmp_path / "file" / "store")
    assert store.references() == []
    with pytest.raises(StoreError):
        store.put(ONE, [artifact_of()])


def test_builders_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def build(number: int) -> None:
        LayoutStore(tmp_path).put(parse_reference(f"fita.local/s{number}:1"), [artifact_of(version=number)])

    threads = [threading.Thread(target=build, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(LayoutStore(tmp_path).references()) == 12


KILLED = """\
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from oci_sample import artifact_of
from fita.oci.layout import LayoutStore
from fita.oci.reference import parse_reference
store = LayoutStore(Path({root!r}))
print("ready", flush=True)
number = 0
while True:
    digest = store.put(parse_reference(f"fita.local/s{{number % 7}}:1"), [artifact_of(version=number)])
    print(digest, flush=True)
    number += 1
"""


def test_a_killed_builder_loses_nothing_that_it_had_acknowledged(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "store")
    program = KILLED.format(path=sys.path, root=str(store.root))
    acknowledged = []
    for lines in range(1, 10, 2):  # killed at another point of its work each time
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        acknowledged += [process.stdout.readline().strip() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()  # what it said before the signal came
        process.wait(10)
        process.stdout.close()
        for digest in acknowledged:
            if len(digest) == 71:
                assert store.resolve(by_digest(ONE, digest)).digest == digest
        for name in store.references():
            store.resolve(parse_reference(name))
    store.put(ONE, [artifact_of()])
    assert not list(store.root.rglob(".partial-*"))
    assert len(acknowledged) >= 25


DYING = """\
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from oci_sample import artifact_of
from fita.oci.layout import LayoutStore
from fita.oci.reference import parse_reference
name = parse_reference("fita.local/average:1")

def dying(work):
    def step(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return work(*arguments, **named)
    return step

fsync, fdopen, chmod, replace = os.fsync, os.fdopen, Path.chmod, Path.replace
for steps in range(1000):
    store = LayoutStore(Path({root!r}) / str(steps))
    store.put(name, [artifact_of(version=1)])
    child = os.fork()
    if child == 0:
        left = steps
        os.fsync, os.fdopen = dying(fsync), dying(fdopen)
        Path.chmod, Path.replace = dying(chmod), dying(replace)
        store.put(name, [artifact_of(version=2)])
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_a_builder_may_die_at_any_step(tmp_path: Path) -> None:
    """A child process for each step dies just before it; the last one finds no step left to die at."""
    old, new = artifact_of(version=1), artifact_of(version=2)
    subprocess.run([sys.executable, "-c", DYING.format(path=sys.path, root=str(tmp_path))], check=True)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    outcomes = []
    for store in map(LayoutStore, folders):
        outcomes.append(store.resolve(ONE).digest)
        for artifact in (old, new) if outcomes[-1] == new.manifest.digest else (old,):
            for part in (artifact.config, artifact.layer, artifact.manifest):
                assert store.read(ONE, part.descriptor()) == part.data
        assert store.resolve(by_digest(ONE, old.manifest.digest)).data == old.manifest.data
        assert store.put(ONE, [new]) == new.manifest.digest
        assert not list(store.root.rglob(".partial-*"))
    assert len(outcomes) > 15
    assert outcomes == sorted(outcomes, key=lambda digest: digest == new.manifest.digest)  # one step changes it
    assert (outcomes[0], outcomes[-1]) == (old.manifest.digest, new.manifest.digest)


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary, with damage, deletion and builds in any order."""

    names = st.sampled_from([f"fita.local/{name}:{tag}" for name in "ab" for tag in "12"])

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = LayoutStore(Path(self.folder.name))
        self.names_now: dict[str, str] = {}
        self.digests: set[str] = set()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(name=names, version=st.integers(0, 5), platforms=st.sampled_from([(PORTABLE,), (PORTABLE, DEVICE)]))
    def build(self, name: str, version: int, platforms: tuple[object, ...]) -> None:
        artifacts = [artifact_of(platform, version=version) for platform in platforms]  # type: ignore[arg-type]
        self.names_now[name] = self.store.put(parse_reference(name), artifacts)
        self.digests.add(self.names_now[name])

    @rule(name=names)
    def leave_a_partial_file(self, name: str) -> None:
        folder = self.store.root / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".partial-killed").write_bytes(name.encode())

    @invariant()
    def answers_like_a_dictionary(self) -> None:
        assert self.store.references() == sorted(self.names_now)
        for name, digest in self.names_now.items():
            assert self.store.resolve(parse_reference(name)).digest == digest
        for digest in self.digests:
            assert self.store.resolve(by_digest(ONE, digest)).digest == digest


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_content_can_be_kept_without_knowing_it(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    top = Content(MEDIA_TYPE_MANIFEST, b'{"anything": 1}')
    assert store.put_content(ONE, top, [Content("text/plain", b"part")]) == top.digest
    assert store.resolve(ONE) == top
