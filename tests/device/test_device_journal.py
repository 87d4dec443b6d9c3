"""The installer's journal under any order of operations, with the power going at any change of flash."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import sample
import store as store_module
from coap import RequestError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from rig import Code, Rig

DIGESTS = ("good", "better", "bad")
MOST = 4

choices = st.integers(0, 20)


class PowerLoss(BaseException):
    """The device stops where it is; nothing in it may catch that."""


class Flash:
    """Counts what changes flash, and lets the power go before a chosen change."""

    def __init__(self) -> None:
        self.left: int | None = None
        functions = {name: getattr(os, name) for name in ("listdir", "stat", "mkdir")}
        self.os = SimpleNamespace(rename=self.counted(os.rename), remove=self.counted(os.remove), **functions)

    def counted(self, function: Callable[..., None]) -> Callable[..., None]:
        def counting(*arguments: object) -> None:
            self.change()
            function(*arguments)

        return counting

    def open(self, name: str, mode: str = "r") -> object:
        """A file that is written when the power goes is left empty."""
        file = builtins.open(name, mode)  # noqa: SIM115 - the caller closes it
        if "w" in mode:
            try:
                self.change()
            except PowerLoss:
                file.close()
                raise
        return file

    def change(self) -> None:
        if self.left is not None:
            if not self.left:
                raise PowerLoss
            self.left -= 1


@dataclass
class Expected:
    """One instance: what is installed and active, and what was before an update that has not started yet."""

    digest: str = ""
    is_active: bool = False
    before: str = ""
    delivered: str = ""
    is_uploading: bool = False

    @property
    def files(self) -> int:
        return bool(self.digest) + bool(self.before) + bool(self.delivered) + self.is_uploading

    def copy(self) -> Expected:
        return Expected(self.digest, self.is_active, self.before, self.delivered, self.is_uploading)


def fail(service: object) -> None:
    raise ValueError("broken")


class Journal(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.flash = Flash()
        store_module.os = self.flash.os  # type: ignore[assignment]
        store_module.open = self.flash.open  # type: ignore[attr-defined]
        works = Code(setup=lambda service: None)
        self.rig = Rig({"good": works, "better": works, "bad": Code(setup=fail)})
        self.rig.settings["max_services"] = MOST
        self.expected: dict[int, Expected] = {}

    def teardown(self) -> None:
        self.flash.left = None
        store_module.os = os
        del store_module.open  # type: ignore[attr-defined]
        self.rig.close()

    # Operations

    def pick(self, choice: int) -> int:
        """One of the instances that there are."""
        return sorted(self.expected)[choice % len(self.expected)]

    @rule(digest=st.sampled_from(DIGESTS), stage=st.sampled_from((0, 1, 2, 3, 3, 3)))
    def deploy(self, digest: str, stage: int) -> None:
        """Create, deliver, install and activate a service, or only the first of these."""
        try:
            instance = self.rig.software.create()
        except RequestError:
            assert sum(not expected.digest for expected in self.expected.values()) >= 3
            return
        assert instance not in self.expected
        self.expected[instance] = Expected()
        if stage > 0:
            self.deliver(instance, digest)
        for resource in (4, 10)[: max(stage - 1, 0)]:
            self.execute(instance, resource)

    @precondition(lambda self: self.expected)
    @rule(choice=choices, digest=st.sampled_from(DIGESTS), stage=st.sampled_from((0, 1, 2, 2)))
    def update(self, choice: int, digest: str, stage: int) -> None:
        """Begin to send a package, or send it, or send and install it."""
        instance = self.pick(choice)
        if stage > 0:
            self.deliver(instance, digest)
        else:
            self.rig.software.write_block(instance, 2, *self.blocks(instance, digest)[0])
            self.expected[instance].delivered, self.expected[instance].is_uploading = "", True
        if stage > 1:
            self.execute(instance, 4)

    def deliver(self, instance: int, digest: str) -> None:
        others = sum(
            bool(other.digest or other.delivered) for name, other in self.expected.items() if name != instance
        )
        with suppress(RequestError):  # too many services
            for block in self.blocks(instance, digest):
                self.rig.software.write_block(instance, 2, *block)
        expected = self.expected[instance]
        expected.delivered, expected.is_uploading = (digest if others < MOST else ""), False

    def blocks(self, instance: int, digest: str) -> list[tuple[int, bytes, bool]]:
        """A package in blocks, of which the first does not hold the whole header."""
        return sample.blocks(sample.package(digest=digest, id=f"uid/{instance}", mem=1000), 128)

    @precondition(lambda self: self.expected)
    @rule(choice=choices, resource=st.sampled_from((4, 6, 10, 11)))
    def operate(self, choice: int, resource: int) -> None:
        self.execute(self.pick(choice), resource)

    @precondition(lambda self: self.expected)
    @rule(choice=choices)
    def delete(self, choice: int) -> None:
        instance = self.pick(choice)
        self.rig.software.delete(instance)
        del self.expected[instance]

    @rule(ms=st.sampled_from((0, 1000, 60000)))
    def step(self, ms: int) -> None:
        self.rig.step(ms)
        for expected in self.expected.values():
            if expected.is_active and expected.before:
                expected.digest = expected.digest if expected.digest != "bad" else expected.before
                expected.before = ""

    def execute(self, instance: int, resource: int) -> None:
        after = self.after(self.expected[instance], resource)
        try:
            self.rig.software.execute(instance, resource)
        except RequestError:
            assert after is None
        else:
            assert after is not None
            self.expected[instance] = after

    def after(self, before: Expected, resource: int) -> Expected | None:
        """What an operation makes of an instance, None when it must be refused."""
        after = before.copy()
        if resource == 6:
            return Expected()
        if resource == 4:
            if not before.delivered:
                return None
            after.digest, after.delivered = before.delivered, ""
            after.before = (before.before or before.digest) if before.is_active else ""
        elif not before.digest:
            return None
        else:
            after.is_active = resource == 10
        return after

    # Losses of power

    @rule()
    def lose_power(self) -> None:
        self.restart()

    @precondition(lambda self: self.expected)
    @rule(choice=choices, resource=st.sampled_from((4, 6, 10, 11)), changes=st.integers(0, 3))
    def lose_power_during(self, choice: int, resource: int, changes: int) -> None:
        instance = self.pick(choice)
        before = self.expected[instance]
        after = self.after(before, resource) or before
        self.flash.left = changes
        with suppress(PowerLoss, RequestError):
            self.rig.software.execute(instance, resource)
        self.flash.left = None
        self.restart(instance)
        candidates = [state.copy() for state in (before, after) if self.installed(state) == self.found(instance)]
        assert candidates
        for candidate in candidates:
            candidate.delivered, candidate.is_uploading = "", False
        del self.expected[instance]
        known = sum(expected.files for expected in self.expected.values())
        kept = [candidate for candidate in candidates if known + candidate.files == self.code_files()]
        assert kept
        if kept[0].digest:
            self.expected[instance] = kept[0]

    def installed(self, expected: Expected) -> tuple[str, bool] | None:
        return (expected.digest, expected.is_active) if expected.digest else None

    def code_files(self) -> int:
        return sum(name.endswith(".mpy") for name in os.listdir(self.rig.folder + "/services"))

    def found(self, instance: int) -> tuple[str, bool] | None:
        if instance not in self.rig.software.instances():
            return None
        return self.rig.value(instance, 27511), self.rig.value(instance, 12)

    def restart(self, uncertain: int | None = None) -> None:
        self.rig.restart()
        for instance, expected in list(self.expected.items()):
            if instance == uncertain:
                continue
            expected.delivered, expected.is_uploading = "", False
            if not expected.digest:
                del self.expected[instance]

    # What always holds

    @invariant()
    def the_device_says_what_is_expected(self) -> None:
        assert self.rig.software.instances() == sorted(self.expected)
        for instance, expected in self.expected.items():
            shown = expected.digest or expected.delivered
            assert self.rig.value(instance, 27511) == shown
            assert self.rig.value(instance, 12) == expected.is_active
            state = self.rig.value(instance, 7)
            if expected.is_uploading or expected.delivered:
                assert state == (3 if expected.delivered else 1)
            else:
                assert state == (4 if expected.digest else 0)

    @invariant()
    def flash_holds_that_and_nothing_else(self) -> None:
        files = os.listdir(self.rig.folder + "/services")
        assert self.code_files() == sum(item.files for item in self.expected.values())
        assert sum(name.endswith(".json") for name in files) == sum(
            bool(item.digest) for item in self.expected.values()
        )
        assert "new.tmp" not in files

    @invariant()
    def what_is_active_is_with_the_host(self) -> None:
        active = {instance for instance, expected in self.expected.items() if expected.is_active}
        assert set(self.rig.host.runners) == active


TestJournal = Journal.TestCase
TestJournal.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
