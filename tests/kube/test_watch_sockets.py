"""The watch over real sockets: where it goes on after each fault, how long it waits, what the store is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tailrace.api.kube import Pod
from tailrace.errors import NotFound
from tailrace.kube import reflector
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, key_of
from tailrace.kube.resources import PODS
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tests.kube.sockets import Wrapper, bookmark, connect, event, pod, refusal
from tests.support import faults
from tests.support.scripted import Act, Asked, Reply, ScriptedServer, Stream, serve

pytestmark = pytest.mark.anyio


class Watching:
    """A watch of pods, the server that it asks, and all that it does."""

    def __init__(self, kube: Kube, server: ScriptedServer) -> None:
        self.server = server
        self.store: Store[Pod] = Store()
        self.store.on_event(self._note)
        self.events: list[str] = []
        self.pauses: list[float] = []
        self.watch = Watch(kube, PODS, self.store, sleep=self._sleep, chance=lambda: 0.5)

    async def run_script(self) -> None:
        """Until the watch has asked once more than the script has answers."""
        task = asyncio.create_task(self.watch.run())
        try:
            async with asyncio.timeout(10):
                await self.server.over.wait()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def versions(self) -> list[str]:
        """What each request began from: a version, `stream` (with all objects), or `list`."""
        return [describe(asked) for asked in self.server.asked]

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def _note(self, event: Event[Pod]) -> None:
        sign = "+" if event.old is None else "-" if event.new is None else "~"
        self.events.append(f"{sign}{event.key.name}@{event.obj.metadata.resourceVersion}")


def describe(asked: Asked) -> str:
    if "watch" not in asked.query:
        return "list"
    return "stream" if asked.query.get("sendInitialEvents") == "true" else asked.query["resourceVersion"]


@contextlib.asynccontextmanager
async def watching(folder: Path, *script: Act, wrap: Wrapper | None = None) -> AsyncIterator[Watching]:
    """The script has been played when the block begins; the server still listens."""
    async with serve(*script) as server, connect(folder, server.url, wrap=wrap) as kube:
        run = Watching(kube, server)
        await run.run_script()
        yield run


BEGIN = (event("ADDED", pod("a", 5)), bookmark(7, initial_end=True))
"""A streaming list: pod `a`, complete as of version 7."""


async def test_a_watch_that_ends_goes_on_from_the_last_version(tmp_path: Path) -> None:
    """From the end of the list, from the last object, from the last bookmark; an end in good order costs no pause."""
    script = (
        Stream(chunks=BEGIN),
        Stream(chunks=(event("MODIFIED", pod("a", 9)), event("ADDED", pod("b", 11)))),
        Stream(chunks=(bookmark(42),)),
        Stream(chunks=(event("DELETED", pod("a", 50)),)),
    )
    async with watching(tmp_path, *script) as run:
        assert run.versions == ["stream", "7", "11", "42", "50"]
        assert run.events == ["+a@5", "~a@9", "+b@11", "-a@9"]
        assert run.pauses == []
        assert [key_of(found) for found in run.store.list()] == [Key("default", "b")]
        assert run.server.asked[1].query["allowWatchBookmarks"] == "true"
        assert 300 <= int(run.server.asked[1].query["timeoutSeconds"]) <= 600


async def test_a_connection_cut_in_the_middle_of_an_event_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Half an event is none; it comes again after the last whole version."""
    whole = event("MODIFIED", pod("a", 9))
    script = (
        Stream(chunks=BEGIN),
        Stream(chunks=(event("ADDED", pod("b", 8)), whole[:20]), then="cut"),
        Stream(chunks=tuple(whole[i : i + 1] for i in range(len(whole)))),
    )
    async with watching(tmp_path, *script) as run:
        assert run.versions == ["stream", "7", "8", "9"]
        assert run.events == ["+a@5", "+b@8", "~a@9"]
        assert len(run.pauses) == 1
        assert run.watch.problem is None


@pytest.mark.parametrize(
    "gone",
    [refusal(410), Stream(chunks=(event("ERROR", {"code": 410, "message": "too old"}),))],
    ids=["as an answer", "as an event"],
)
async def test_a_version_that_is_too_old_means_list_again(tmp_path: Path, gone: Act) -> None:
    """At once, and what vanished meanwhile is told as deleted."""
    again = Stream(chunks=(event("ADDED", pod("b", 20)), bookmark(21, initial_end=True)))
    async with watching(tmp_path, Stream(chunks=BEGIN), gone, again) as run:
        assert run.versions == ["stream", "7", "stream", "21"]
        assert sorted(run.events) == ["+a@5", "+b@20", "-a@5"]
        assert run.pauses == []


async def test_a_silent_stream_is_a_dead_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hung up, and the next goes on from the last version."""
    monkeypatch.setattr(reflector, "SILENCE", 1.0)
    script = (
        Stream(chunks=BEGIN),
        Stream(chunks=(bookmark(30),), then="silent"),
        Stream(chunks=(event("MODIFIED", pod("a", 31)),)),
    )
    async with watching(tmp_path, *script) as run:
        assert run.versions == ["stream", "7", "30", "31"]
        assert run.events == ["+a@5", "~a@31"]


@pytest.mark.parametrize(
    "answer",
    [refusal(400), refusal(422), Stream(chunks=(bookmark(3),))],
    ids=["400", "422", "ignored"],
)
async def test_a_server_without_streaming_lists_is_listed_page_by_page(tmp_path: Path, answer: Act) -> None:
    """Also after a version that is too old: what it cannot do is not asked for again."""
    first = Reply(body={"metadata": {"resourceVersion": "8", "continue": "more"}, "items": [pod("a", 5)]})
    last = Reply(body={"metadata": {"resourceVersion": "8"}, "items": [pod("b", 6)]})
    async with watching(tmp_path, answer, first, last, refusal(410), first, refusal(410), last) as run:
        assert run.versions == ["stream", "list", "list", "8", "list", "list", "list", "8"]
        assert run.events == ["+a@5", "+b@6", "-a@5"]
        assert [asked.query.get("continue") for asked in run.server.asked[4:7]] == [None, "more", None]


async def test_retry_after_is_obeyed_and_failures_in_a_row_wait_ever_longer(tmp_path: Path) -> None:
    """Until something is heard again."""
    script = (
        Stream(chunks=BEGIN),
        refusal(429, Retry_After="7"),
        refusal(500),
        Reply(status=502, body=b"<html>"),
        Stream(chunks=(event("MODIFIED", pod("a", 9)),)),
        refusal(500),
    )
    async with watching(tmp_path, *script) as run:
        assert run.versions == ["stream", "7", "7", "7", "7", "9", "9"]
        assert 7.0 <= run.pauses[0] <= 8.4
        assert run.pauses[1] < run.pauses[2]
        assert run.pauses[3] < run.pauses[1]


async def test_an_object_that_cannot_be_read_spoils_no_other(tmp_path: Path) -> None:
    bad = {"metadata": {**pod("bad", 8)["metadata"], "labels": "no map"}}
    script = (Stream(chunks=BEGIN), Stream(chunks=(event("ADDED", bad), event("ADDED", pod("c", 9)))))
    async with watching(tmp_path, *script) as run:
        assert run.versions == ["stream", "7", "9"]
        assert run.events == ["+a@5", "+c@9"]
        assert run.pauses == []


async def test_the_wrapper_spoils_a_watch_as_a_socket_does(tmp_path: Path) -> None:
    """Lost in good order, cut, silent without the wait, refused: each goes on from the last version."""
    whole = event("ADDED", pod("b", 8))
    spoilt: list[faults.Fault | None] = [
        None,
        faults.Broken(how="end"),
        faults.Broken(how="cut", after=len(whole)),
        faults.Broken(how="silent", after=4),
        faults.Refused(),
    ]
    more = Stream(chunks=(whole, event("ADDED", pod("c", 9))))
    wrapper = Wrapper(spoilt)
    async with watching(tmp_path, Stream(chunks=BEGIN), more, more, more, wrap=wrapper) as run:
        assert run.versions == ["stream", "7", "7", "8", "8"]
        assert run.events == ["+a@5", "+b@8"]
        assert len(run.pauses) == 4
        assert wrapper.made.calls["GET /api/v1/pods"] == 6


async def test_a_stream_that_never_completes_its_list_is_listed_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old server takes it for a plain watch: it tells some objects and never says that these were all."""
    monkeypatch.setattr(reflector, "STREAMING_SILENCE", 1.0)
    page = Reply(body={"metadata": {"resourceVersion": "8"}, "items": [pod("b", 6)]})
    script = (Stream(chunks=(event("ADDED", pod("a", 5)),), then="silent"), page)
    async with watching(tmp_path, *script) as run:
        assert run.versions == ["stream", "list", "8"]
        assert run.events == ["+b@6"]


async def test_a_watch_tells_what_is_wrong_until_something_comes(tmp_path: Path) -> None:
    """`problem` is what readiness shows."""
    more = Stream(chunks=(event("MODIFIED", pod("a", 9)),))
    async with watching(tmp_path, Stream(chunks=BEGIN), refusal(403)) as run:
        assert run.watch.synced
        assert run.watch.problem == "refused with 403 by the test"
    async with watching(tmp_path, Stream(chunks=BEGIN), refusal(403), more) as run:
        assert run.watch.problem is None


async def test_a_token_that_is_rotated_does_not_interrupt_a_watch(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    more = Stream(chunks=(event("MODIFIED", pod("a", 9)),))

    def rotate(_: Event[Pod]) -> None:
        token.write_text("new")

    async with serve(Stream(chunks=BEGIN), refusal(401), more) as server:
        async with connect(tmp_path, server.url, user={"tokenFile": str(token)}) as kube:
            run = Watching(kube, server)
            run.store.on_event(rotate)
            await run.run_script()
        assert run.events == ["+a@5", "~a@9"]
        assert run.pauses == []
        given = [asked.headers["authorization"].removeprefix("Bearer ") for asked in server.asked]
        assert given == ["old", "old", "new", "new"]


async def test_a_watch_that_is_cancelled_hangs_up(tmp_path: Path) -> None:
    """Nothing stays open behind a task that ended."""
    async with serve(Stream(chunks=BEGIN, then="silent")) as server, connect(tmp_path, server.url) as kube:
        run = Watching(kube, server)
        task = asyncio.create_task(run.watch.run())
        await run.watch.wait_synced()
        assert not server.idle.is_set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await server.idle.wait()


async def test_who_only_looks_lists_once_page_by_page(tmp_path: Path) -> None:
    """What cannot be read is told, and spoils no other."""
    bad = {"metadata": {**pod("bad", 8)["metadata"], "labels": "no map"}}
    first = {"metadata": {"resourceVersion": "8", "continue": "more"}, "items": [pod("a", 5), bad]}
    last = {"metadata": {"resourceVersion": "8"}, "items": [pod("b", 6)]}
    async with (
        serve(Reply(body=first), Reply(body=last)) as server,
        connect(tmp_path, server.url) as kube,
    ):
        run = Watching(kube, server)
        unread = await run.watch.read()
        assert [change.key for change in unread] == [Key("default", "bad")]
        assert run.versions == ["list", "list"]
        assert run.events == ["+a@5", "+b@6"]
        assert run.watch.synced


@pytest.mark.parametrize("optional", [True, False])
async def test_a_kind_that_is_not_installed_has_no_objects_where_that_may_be(
    tmp_path: Path, optional: bool
) -> None:
    async with serve(refusal(404)) as server, connect(tmp_path, server.url) as kube:
        store: Store[Pod] = Store()
        reading = Watch(kube, PODS, store, optional=optional).read()
        if optional:
            assert await reading == ()
        else:
            with pytest.raises(NotFound):
                await reading
        assert (store.synced, store.absent, len(store)) == (optional, optional, 0)
