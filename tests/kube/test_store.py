"""The store: indexes, what changed, and never acting on something older than what we wrote."""

from __future__ import annotations

from tailrace.api import kube
from tailrace.kube.reflector import Change, Dropped, Put, Replaced
from tailrace.kube.resource import Key
from tailrace.kube.store import Event, Store

type Pods = Store[kube.Pod]


def pod(name: str, version: int, **labels: str) -> kube.Pod:
    meta = kube.ObjectMeta(
        name=name, namespace="default", uid=f"uid-{name}", resourceVersion=str(version), labels=labels
    )
    return kube.Pod(metadata=meta)


def listing(*pods: kube.Pod, version: int) -> Change[kube.Pod]:
    return Replaced(objects=pods, unread=frozenset(), version=str(version))


def build() -> tuple[Pods, list[Event[kube.Pod]]]:
    store: Pods = Store("pods")
    store.add_index("app", lambda p: [p.metadata.labels["app"]] if "app" in p.metadata.labels else [])
    events: list[Event[kube.Pod]] = []
    store.on_event(events.append)
    store.apply(listing(version=1))
    return store, events


def name_of(found: kube.Pod | None) -> str | None:
    return found.metadata.name if found else None


def test_an_index_follows_every_change() -> None:
    store, _ = build()
    store.apply(Put(obj=pod("a", 2, app="x")))
    store.apply(Put(obj=pod("b", 3, app="x")))
    assert [p.metadata.name for p in store.by_index("app", "x")] == ["a", "b"]
    store.apply(Put(obj=pod("a", 4, app="y")))
    assert [p.metadata.name for p in store.by_index("app", "x")] == ["b"]
    store.apply(Dropped(key=Key("default", "b"), version="5"))
    assert store.by_index("app", "x") == ()


def test_a_list_tells_what_is_gone() -> None:
    """After a break nobody says that an object was deleted; the list that lacks it does."""
    store, events = build()
    store.apply(Put(obj=pod("a", 2)))
    store.apply(Put(obj=pod("b", 3)))
    store.apply(listing(pod("b", 3), version=9))
    assert [(name_of(e.old), name_of(e.new)) for e in events] == [(None, "a"), (None, "b"), ("a", None)]


def test_the_same_version_again_is_no_event() -> None:
    store, events = build()
    store.apply(Put(obj=pod("a", 2)))
    store.apply(Put(obj=pod("a", 2)))
    store.apply(listing(pod("a", 2), version=2))
    assert len(events) == 1


def test_our_own_write_is_known_at_once_and_nothing_older_undoes_it() -> None:
    store, _ = build()
    store.apply(Put(obj=pod("a", 2, app="old")))
    store.note_write(pod("a", 7, app="ours"))
    store.apply(Put(obj=pod("a", 5, app="older")))
    found = store.get("default", "a")
    assert found is not None
    assert found.metadata.labels["app"] == "ours"
    store.apply(Put(obj=pod("a", 8, app="newer")))
    found = store.get("default", "a")
    assert found is not None
    assert found.metadata.labels["app"] == "newer"


def test_a_late_answer_does_not_bring_back_what_is_gone() -> None:
    store, _ = build()
    store.apply(Dropped(key=Key("default", "a"), version="9"))
    store.note_write(pod("a", 8))
    assert store.get("default", "a") is None


def test_a_restored_cluster_counts_anew() -> None:
    store, _ = build()
    store.apply(Put(obj=pod("a", 900)))
    store.apply(listing(pod("a", 3), version=3))
    found = store.get("default", "a")
    assert found is not None
    assert found.metadata.resourceVersion == "3"


def test_what_could_not_be_read_stays_as_it_was() -> None:
    store, _ = build()
    store.apply(Put(obj=pod("a", 2)))
    store.apply(Replaced(objects=(), unread=frozenset({Key("default", "a")}), version="5"))
    assert store.get("default", "a") is not None


def test_it_is_synced_after_the_first_whole_truth() -> None:
    store: Pods = Store("pods")
    assert not store.synced
    store.apply(listing(version=1))
    assert store.synced
