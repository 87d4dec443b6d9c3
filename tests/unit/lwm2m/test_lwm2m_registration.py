from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fita.coap.code import Code
from fita.coap.interfaces import Peer
from fita.lwm2m.errors import RegistrationError
from fita.lwm2m.registration import ObjectList, Registration, RegistrationStore, parse_object_list

AT = datetime(2026, 1, 2, tzinfo=UTC)
PEER: Peer = ("10.0.1.1", 5683)
OTHER_PEER: Peer = ("10.0.1.2", 5683)
QUERY = ("ep=lamp1", "lt=60", "lwm2m=1.1", "b=U")


def register(
    store: RegistrationStore, *query: str, payload: bytes = b"</3/0>", peer: Peer = PEER, now: float = 0.0
) -> tuple[Registration, Registration | None]:
    return store.register(query or QUERY, payload, peer, now=now, at=AT)


def everybody() -> RegistrationStore:
    return RegistrationStore(lambda endpoint: True)


def refusal(*query: str, payload: bytes = b"</3/0>", store: RegistrationStore | None = None) -> Code:
    with pytest.raises(RegistrationError) as caught:
        register(everybody() if store is None else store, *query, payload=payload)
    return caught.value.code


# Registering


def test_a_registration_holds_what_the_device_said() -> None:
    store = everybody()
    registration, replaced = register(store)
    assert replaced is None
    assert (registration.endpoint, registration.lifetime_s, registration.binding) == ("lamp1", 60, "U")
    assert (registration.peer, registration.version, registration.queue_mode) == (PEER, "1.1", False)
    assert (registration.registered_at, registration.expires_at_s) == (AT, 60.0)
    assert store.get(registration.endpoint) is registration


@pytest.mark.parametrize(
    ("query", "binding", "queue_mode"),
    [
        ((), "U", False),
        (("b=U",), "U", False),
        (("b=UQ",), "U", True),
        (("b=UQS",), "US", True),
        (("Q",), "U", True),  # Anjay
        (("b=U", "Q"), "U", True),
        (("b=Q",), "U", True),
    ],
)
def test_queue_mode_in_all_its_spellings(query: tuple[str, ...], binding: str, queue_mode: bool) -> None:
    registration, _ = register(everybody(), "ep=a", "lwm2m=1.1", *query)
    assert (registration.binding, registration.queue_mode) == (binding, queue_mode)
    assert registration.lifetime_s == 86400


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_all_versions_of_lwm2m_1_register(version: str) -> None:
    assert register(everybody(), "ep=a", f"lwm2m={version}")[0].version == version


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (("lwm2m=1.1",), Code.BAD_REQUEST),
        (("ep=", "lwm2m=1.1"), Code.BAD_REQUEST),
        (("ep=a b", "lwm2m=1.1"), Code.BAD_REQUEST),
        (("ep=" + "a" * 129, "lwm2m=1.1"), Code.BAD_REQUEST),
        (("ep=a\n", "lwm2m=1.1"), Code.BAD_REQUEST),
        (("ep=a", "ep=b", "lwm2m=1.1"), Code.BAD_REQUEST),
        (("ep=a",), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=2.0"), Code.PRECONDITION_FAILED),
        (("ep=a", "lwm2m=1.1", "lt=0"), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=1.1", "lt=-5"), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=1.1", "lt=2147483648"), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=1.1", "lt=1e3"), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=1.1", "lt=²"), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=1.1", "b=X"), Code.BAD_REQUEST),
    ],
)
def test_an_invalid_query_is_refused(query: tuple[str, ...], code: Code) -> None:
    assert refusal(*query) == code


def test_an_invalid_object_list_is_refused() -> None:
    assert refusal(payload=b"</3/0") == Code.BAD_REQUEST
    assert refusal(payload=b"</3/0>," * 10_000) == Code.REQUEST_ENTITY_TOO_LARGE


def test_who_is_not_enrolled_is_refused_with_a_hint() -> None:
    store = RegistrationStore(lambda endpoint: endpoint == "lamp2")
    assert refusal(store=store) == Code.FORBIDDEN
    assert len(store) == 0
    with pytest.raises(RegistrationError, match="fita device enroll lamp1"):
        register(store)


def test_a_full_store_takes_nobody_new() -> None:
    store = RegistrationStore(lambda endpoint: True, limit=1)
    register(store)
    assert refusal("ep=other", "lwm2m=1.1", store=store) == Code.SERVICE_UNAVAILABLE
    assert register(store)[1] is not None


def test_unknown_parameters_are_ignored() -> None:
    register(everybody(), *QUERY, "pid", "sms=+351000", "x=y=z")


def test_registering_again_replaces() -> None:
    store = everybody()
    first, _ = register(store)
    second, replaced = register(store, peer=OTHER_PEER)
    assert replaced is first
    assert second.location != first.location
    with pytest.raises(RegistrationError):
        store.update(first.location, (), b"", PEER, now=1.0)


def test_locations_cannot_be_guessed() -> None:
    store = everybody()
    locations = {register(store, f"ep=d{number}", "lwm2m=1.1")[0].location for number in range(100)}
    assert len(locations) == 100
    assert min(map(len, locations)) >= 12


# Object lists


def test_the_object_list_of_our_runtime() -> None:
    objects = parse_object_list(
        b'</>;rt="oma.lwm2m";ct=112,</1/0>,</3/0>,</9/1000>,</9/1001>,</3303/0>,</35003/0>,</8>'
    )
    assert objects.root == ()
    assert objects.instances == {1: (0,), 3: (0,), 9: (1000, 1001), 3303: (0,), 35003: (0,), 8: ()}
    assert 8 in objects
    assert not objects.has_instances(8)
    assert not objects.has_instances(77)


def test_an_object_list_below_another_root() -> None:
    objects = parse_object_list(b'</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0>,</3303/0>,</lwm2mx/4/0>')
    assert objects == ObjectList(("lwm2m",), {3: (0,)})


def test_links_that_are_no_objects_are_ignored() -> None:
    assert parse_object_list(b"</3/0>,</.well-known/core>,<http://x/>,</65535/0>").instances == {3: (0,)}


# Updates and ends


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    store = everybody()
    registration, _ = register(store)
    store.update(registration.location, (), b"", OTHER_PEER, now=50.0)
    assert (registration.expires_at_s, registration.peer, registration.lifetime_s) == (110.0, OTHER_PEER, 60)
    assert registration.objects.instances == {3: (0,)}
    store.update(registration.location, ("lt=10", "b=UQ"), b"</4/0>", PEER, now=60.0)
    assert (registration.expires_at_s, registration.queue_mode) == (70.0, True)
    assert registration.objects.instances == {4: (0,)}


def test_a_refused_update_changes_nothing() -> None:
    store = everybody()
    registration, _ = register(store)
    for query, payload in ((("lt=x",), b""), ((), b"<"), (("lt=5", "b=X"), b"")):
        with pytest.raises(RegistrationError):
            store.update(registration.location, query, payload, OTHER_PEER, now=50.0)
    assert (registration.expires_at_s, registration.peer) == (60.0, PEER)


def test_an_update_of_who_is_no_longer_enrolled_is_refused() -> None:
    enrolled = {"lamp1"}
    store = RegistrationStore(lambda endpoint: endpoint in enrolled)
    registration, _ = register(store)
    enrolled.clear()
    with pytest.raises(RegistrationError) as caught:
        store.update(registration.location, (), b"", PEER, now=1.0)
    assert caught.value.code == Code.FORBIDDEN


def test_a_shortened_lifetime_ends_earlier() -> None:
    store = everybody()
    registration, _ = register(store, "ep=a", "lwm2m=1.1", "lt=1000")
    store.update(registration.location, ("lt=5",), b"", PEER, now=10.0)
    assert store.next_expiry_s() == 15.0
    assert store.expire(14.9) == []
    assert store.expire(15.0) == [registration]
    assert store.expire(2000.0) == []


def test_a_lifetime_that_goes_up_and_down_costs_no_memory_for_ever() -> None:
    store = everybody()
    registration, _ = register(store)
    for number in range(1000):
        store.update(registration.location, (f"lt={100 if number % 2 else 2}",), b"", PEER, now=float(number))
        assert store.expire(float(number)) == []
    assert len(store._queue) < 100


def test_registering_again_and_again_costs_no_memory_for_ever() -> None:
    store = everybody()
    other, _ = register(store, "ep=other", "lwm2m=1.1", "lt=50")
    for number in range(1000):
        latest, _ = register(store, "ep=a", "lwm2m=1.1", "lt=2147483647", now=float(number) / 100)
    assert len(store._queue) < 100
    assert store.expire(50.0) == [other]
    assert store.get(latest.endpoint) is latest


class Store(RuleBasedStateMachine):
    """The store against a dictionary: endpoints, peers and lifetimes in any order, time only forwards."""

    locations: Bundle[str] = Bundle("locations")

    def __init__(self) -> None:
        super().__init__()
        self.store = everybody()
        self.model: dict[str, dict[str, Any]] = {}  # by location
        self.now = 0.0

    @rule(target=locations, endpoint=st.sampled_from("abc"), lifetime=st.integers(1, 50))
    def register(self, endpoint: str, lifetime: int) -> str:
        registration, replaced = register(
            self.store, f"ep={endpoint}", "lwm2m=1.1", f"lt={lifetime}", now=self.now
        )
        before = [location for location, entry in self.model.items() if entry["endpoint"] == endpoint]
        assert [replaced.location] == before if replaced else not before
        for location in before:
            del self.model[location]
        self.model[registration.location] = {
            "endpoint": endpoint,
            "end": self.now + lifetime,
            "lifetime": lifetime,
        }
        return registration.location

    @rule(location=locations, lifetime=st.one_of(st.none(), st.integers(1, 50)))
    def update(self, location: str, lifetime: int | None) -> None:
        query = () if lifetime is None else (f"lt={lifetime}",)
        if location not in self.model:
            with pytest.raises(RegistrationError):
                self.store.update(location, query, b"", PEER, now=self.now)
            return
        self.store.update(location, query, b"", PEER, now=self.now)
        entry = self.model[location]
        entry["lifetime"] = lifetime or entry["lifetime"]
        entry["end"] = self.now + entry["lifetime"]

    @rule(location=consumes(locations))
    def deregister(self, location: str) -> None:
        if self.model.pop(location, None) is None:
            with pytest.raises(RegistrationError):
                self.store.deregister(location)
        else:
            self.store.deregister(location)

    @rule(step=st.floats(0.1, 30))
    def time_passes(self, step: float) -> None:
        self.now += step
        due = {location for location, entry in self.model.items() if entry["end"] <= self.now}
        assert {registration.location for registration in self.store.expire(self.now)} == due
        for location in due:
            del self.model[location]

    @invariant()
    def they_agree(self) -> None:
        assert {registration.location for registration in self.store} == set(self.model)
        for registration in self.store:
            assert self.store.get(registration.endpoint) is registration
        ends = [entry["end"] for entry in self.model.values()]
        if ends:
            expiry = self.store.next_expiry_s()
            assert expiry is not None
            assert expiry <= min(ends)


Store.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestStore = Store.TestCase
