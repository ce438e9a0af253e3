"""The reflector's table of states, driven by scripted histories without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace import errors
from tailrace.api import kube
from tailrace.kube.reflector import Change, Dropped, Put, Reflector, Replaced, State, Undecodable
from tailrace.kube.resources import PODS
from tailrace.kube.status import Silent


def machine() -> Reflector[kube.Pod]:
    return Reflector(PODS, random=lambda: 0.5, labels="app=x")


def meta(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def bookmark(version: int, *, initial_end: bool = False) -> bytes:
    notes = {"k8s.io/initial-events-end": "true"} if initial_end else {}
    return event(
        "BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version), "annotations": notes}}
    )


def gone() -> bytes:
    return event(
        "ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    )


def page(*items: dict[str, Any], version: int, more: str = "") -> bytes:
    return json.dumps(
        {"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}
    ).encode()


def describe(change: Change[kube.Pod]) -> str:
    match change:
        case Replaced(objects=objects, version=version):
            return f"all {[o.metadata.name for o in objects]} at {version}"
        case Put(obj=obj):
            return f"put {obj.metadata.name}"
        case Dropped(key=key):
            return f"drop {key.name}"
        case Undecodable(key=key):
            return f"skip {key.name}"
        case _:
            return "advance"


def synced(reflector: Reflector[kube.Pod]) -> None:
    reflector.request()
    list(reflector.receive(event("ADDED", meta("a", 2)) + bookmark(5, initial_end=True)))
    assert reflector.state is State.WATCHING


def test_a_streaming_list_is_asked_for_first_and_told_as_a_whole() -> None:
    reflector = machine()
    request = reflector.request()
    assert request.watch
    assert request.params["sendInitialEvents"] == "true"
    assert request.params["resourceVersionMatch"] == "NotOlderThan"
    assert request.params["labelSelector"] == "app=x"
    stream = event("ADDED", meta("a", 2)) + event("ADDED", meta("b", 3)) + bookmark(5, initial_end=True)
    assert [describe(c) for c in reflector.receive(stream)] == ["all ['a', 'b'] at 5"]
    assert reflector.request().params["resourceVersion"] == "5"


def test_lines_may_be_cut_anywhere() -> None:
    reflector = machine()
    reflector.request()
    stream = event("ADDED", meta("a", 2)) + bookmark(5, initial_end=True) + event("MODIFIED", meta("a", 6))
    told = [describe(c) for n in range(len(stream)) for c in reflector.receive(stream[n : n + 1])]
    assert told == ["all ['a'] at 5", "put a"]


@pytest.mark.parametrize(
    "refusal", [errors.Terminal("sendInitialEvents is forbidden", reason="Invalid"), Silent("x")]
)
def test_a_server_without_streaming_lists_is_asked_for_pages(refusal: errors.TailraceError) -> None:
    reflector = machine()
    reflector.request()
    reflector.failed(refusal)
    request = reflector.request()
    assert not request.watch
    assert request.params["limit"] == "500"
    assert [describe(c) for c in reflector.receive_page(page(meta("a", 2), version=9, more="token"))] == []
    assert reflector.request().params["continue"] == "token"
    told = [describe(c) for c in reflector.receive_page(page(meta("b", 3), version=9))]
    assert told == ["all ['a', 'b'] at 9"]
    assert reflector.state is State.WATCHING


def test_an_ordinary_bookmark_before_the_end_means_that_the_server_ignored_us() -> None:
    reflector = machine()
    reflector.request()
    with pytest.raises(errors.Transient) as caught:
        list(reflector.receive(bookmark(4)))
    reflector.failed(caught.value)
    assert not reflector.request().watch


@pytest.mark.parametrize("as_event", [True, False])
def test_a_version_that_is_too_old_means_list_again_at_once(as_event: bool) -> None:
    reflector = machine()
    synced(reflector)
    reflector.request()
    if as_event:
        with pytest.raises(errors.Expired) as caught:
            list(reflector.receive(gone()))
        reflector.failed(caught.value)
    else:
        reflector.failed(errors.Expired("too old resource version"))
    request = reflector.request()
    assert request.params["sendInitialEvents"] == "true"
    assert request.pause == 0


def test_watching_puts_drops_and_advances() -> None:
    reflector = machine()
    synced(reflector)
    reflector.request()
    stream = event("MODIFIED", meta("a", 6)) + event("DELETED", meta("a", 7)) + bookmark(8)
    assert [describe(c) for c in reflector.receive(stream)] == ["put a", "drop a", "advance"]
    assert reflector.version == "8"


def test_a_silent_stream_is_dead_and_resumed_from_where_it_was() -> None:
    reflector = machine()
    synced(reflector)
    assert reflector.request().silence > 60
    reflector.failed(Silent("nothing came"))
    assert reflector.request().params["resourceVersion"] == "5"


def test_an_object_that_cannot_be_read_is_skipped_and_the_rest_goes_on() -> None:
    reflector = machine()
    synced(reflector)
    reflector.request()
    bad = {"metadata": {"name": "bad", "namespace": "default", "labels": 5}}
    told = [describe(c) for c in reflector.receive(event("ADDED", bad) + event("ADDED", meta("b", 9)))]
    assert told == ["skip bad", "put b"]


def test_failures_in_a_row_make_pauses_grow_and_a_word_ends_the_row() -> None:
    reflector = machine()
    synced(reflector)
    pauses = []
    for _ in range(4):
        reflector.request()
        reflector.failed(errors.Transient("cut"))
        pauses.append(reflector.request().pause)
        reflector.failed(errors.Transient("cut"))
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    reflector.request()
    list(reflector.receive(bookmark(9)))
    reflector.failed(errors.Transient("cut"))
    assert reflector.request().pause <= pauses[0]


def test_retry_after_is_obeyed() -> None:
    reflector = machine()
    synced(reflector)
    reflector.failed(errors.RateLimited("slow down", after=20.0))
    assert reflector.request().pause >= 20.0
