"""The client and the watch over real sockets: what each fault becomes, what is asked again, what is never sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tailrace import errors
from tailrace.api.kube import Pod
from tailrace.kube import client, reflector
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, key_of
from tailrace.kube.resources import PODS
from tailrace.kube.status import Silent
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tests.support import faults
from tests.support.faults import FaultyTransport, build_refusal
from tests.support.scripted import Act, Asked, Nothing, Reply, ScriptedServer, Stream, serve

pytestmark = pytest.mark.anyio

type Finished = tuple[str, str, int]
type Wrap = Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]


def write_kubeconfig(folder: Path, url: str, *, user: dict[str, Any], trusted: Mapping[str, str]) -> Path:
    path = folder / "kubeconfig"
    document = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, **trusted}}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def connect(
    folder: Path,
    url: str,
    *,
    seen: list[Finished] | None = None,
    wrap: Wrap | None = None,
    user: dict[str, Any] | None = None,
    trusted: Mapping[str, str] | None = None,
) -> Kube:
    """The client as the operator opens it; `seen` gets every finished request."""
    path = write_kubeconfig(folder, url, user=user or {"token": "s3cret-token"}, trusted=trusted or {})

    def observe(verb: str, resource: str, code: int, seconds: float) -> None:
        if seen is not None:
            seen.append((verb, resource, code))

    return Kube.connect(kubeconfig=path, in_cluster_ok=False, observer=observe, wrap_transport=wrap)


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def bookmark(version: int, *, initial_end: bool = False) -> bytes:
    notes = {"k8s.io/initial-events-end": "true"} if initial_end else {}
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version), "annotations": notes}})


def refusal(status: int, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, body=build_refusal(status), headers=sent)


# --- one request -----------------------------------------------------------------------------------------------------

WHOLE = Reply(body=pod("a", 1))

FAULTS: dict[str, tuple[Act | None, faults.Fault, type[errors.TailraceError], int]] = {
    "409": (refusal(409), faults.Answer(status=409), errors.Conflict, 409),
    "410": (refusal(410), faults.Answer(status=410), errors.Expired, 410),
    "429": (
        refusal(429, Retry_After="7"),
        faults.Answer(status=429, retry_after="7"),
        errors.RateLimited,
        429,
    ),
    "500": (refusal(500), faults.Answer(status=500), errors.Transient, 500),
    "503": (
        refusal(503, Retry_After="7"),
        faults.Answer(status=503, retry_after="7"),
        errors.RateLimited,
        503,
    ),
    "time-out": (Nothing(), faults.TimedOut(), Silent, 0),
    "cut": (
        Reply(body=pod("a", 1), cut_after=9),
        faults.Broken(how="cut", after=9),
        errors.Transient,
        0,
    ),
    "refused": (None, faults.Refused(), errors.Transient, 0),
}
"""What the server does (None: nobody listens), the same from the wrapper, the error, and the status that is counted."""


async def fail(kube: Kube) -> errors.TailraceError:
    with pytest.raises(errors.TailraceError) as caught:
        await kube.get(PODS, "a", "default")
    return caught.value


@pytest.mark.parametrize(
    ("act", "fault", "kind", "code"), list(FAULTS.values()), ids=[str(name) for name in FAULTS]
)
async def test_a_fault_is_one_error_over_a_socket_and_from_the_wrapper(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Act | None,
    fault: faults.Fault,
    kind: type[errors.TailraceError],
    code: int,
) -> None:
    """It is asked once, for the engine tries again and not the client; it is counted; the token is never told."""
    if isinstance(act, Nothing):
        monkeypatch.setattr(client, "TIMEOUT", httpx2.Timeout(30, read=0.3, pool=None))
    async with serve(*([act] if act else [])) as server:
        if act is None:
            await server.stop()
        seen: list[Finished] = []
        async with connect(tmp_path, server.url, seen=seen) as kube:
            over_socket = await fail(kube)
        assert len(server.asked) == len(seen) - (act is None)
    async with serve(WHOLE) as server:
        wrapper = Wrapper([fault])
        async with connect(tmp_path, server.url, seen=seen, wrap=wrapper) as kube:
            from_wrapper = await fail(kube)
        assert [struck for _, struck in wrapper.made.struck] == [fault]
        assert wrapper.made.calls.total() == 1
    assert type(over_socket) is type(from_wrapper) is kind
    assert seen == [("get", "pods", code)] * 2
    assert "s3cret" not in f"{over_socket}{from_wrapper}"
    if isinstance(over_socket, errors.RateLimited) and isinstance(from_wrapper, errors.RateLimited):
        assert over_socket.after == from_wrapper.after == 7.0


class Wrapper:
    """For `wrap_transport`; `made` is the transport that it made."""

    def __init__(self, script: list[faults.Fault | None]) -> None:
        self._script = script
        self.made: FaultyTransport

    def __call__(self, inner: httpx2.AsyncBaseTransport) -> FaultyTransport:
        self.made = FaultyTransport(inner, self._script)
        return self.made


async def test_retry_after_may_stand_in_the_body(tmp_path: Path) -> None:
    """Priority and fairness sends the header, some webhooks only `details`."""
    body = {"message": "slow down", "code": 429, "details": {"retryAfterSeconds": 3}}
    async with serve(Reply(status=429, body=body)) as server, connect(tmp_path, server.url) as kube:
        with pytest.raises(errors.RateLimited, match="slow down") as caught:
            await kube.get(PODS, "a", "default")
        assert caught.value.after == 3.0


async def test_a_page_of_some_proxy_is_not_quoted(tmp_path: Path) -> None:
    """A 502 in HTML and a 200 that is no JSON are passing faults of what stands in between."""
    script = (Reply(status=502, body=b"<html>bad"), Reply(body=b"<html>login here"))
    async with serve(*script) as server, connect(tmp_path, server.url) as kube:
        for _ in script:
            error = await fail(kube)
            assert isinstance(error, errors.Transient)
            assert "html" not in str(error)


async def test_a_list_is_read_page_by_page_and_the_token_may_grow_old(tmp_path: Path) -> None:
    first = Reply(body={"metadata": {"continue": "more"}, "items": [pod("a", 1)]})
    last = Reply(body={"metadata": {}, "items": [pod("b", 2)]})
    async with serve(first, last, first, refusal(410)) as server, connect(tmp_path, server.url) as kube:
        assert [found.metadata.name for found in await kube.list(PODS, labels="x=y")] == ["a", "b"]
        with pytest.raises(errors.Expired):
            await kube.list(PODS)
        assert server.asked[1].query == {"labelSelector": "x=y", "limit": "500", "continue": "more"}


async def test_every_write_is_sent_as_its_kind_and_counted(tmp_path: Path) -> None:
    """Method, path, media type and what the metrics call it."""
    seen: list[Finished] = []
    body = pod("a", 1)
    async with serve(*[WHOLE] * 7) as server, connect(tmp_path, server.url, seen=seen) as kube:
        await kube.create(PODS, body)
        await kube.apply(PODS, body, manager="m")
        await kube.apply(PODS, body, manager="m", subresource="status")
        await kube.patch(PODS, "a", "default", {})
        await kube.patch(PODS, "a", "default", [], kind="json")
        await kube.replace(PODS, body)
        await kube.delete(PODS, "a", "default", uid="u")
        sent = [(asked.method, asked.headers["content-type"].partition("/")[2]) for asked in server.asked]
        assert sent == [
            ("POST", "json"),
            ("PATCH", "apply-patch+yaml"),
            ("PATCH", "apply-patch+yaml"),
            ("PATCH", "merge-patch+json"),
            ("PATCH", "json-patch+json"),
            ("PUT", "json"),
            ("DELETE", "json"),
        ]
        assert server.asked[2].path == "/api/v1/namespaces/default/pods/a/status"
        assert server.asked[1].query == {"fieldManager": "m", "force": "true"}
        assert json.loads(server.asked[6].body)["preconditions"] == {"uid": "u"}
    verbs = ["create", "apply", "apply", "patch", "patch-json", "update", "delete"]
    assert [verb for verb, _, _ in seen] == verbs
    assert seen[2] == ("apply", "pods/status", 200)


# --- who we are, and whom we believe ---------------------------------------------------------------------------------


async def test_a_token_file_that_changed_is_read_again(tmp_path: Path) -> None:
    """On a 401, once: a second one is the server's last word."""
    token = tmp_path / "token"
    token.write_text("old\n")
    async with serve(WHOLE, refusal(401), WHOLE, refusal(401), refusal(401)) as server:
        async with connect(tmp_path, server.url, user={"tokenFile": str(token)}) as kube:
            await kube.get(PODS, "a", "default")
            token.write_text("new\n")
            await kube.get(PODS, "a", "default")
            with pytest.raises(errors.Denied):
                await kube.get(PODS, "a", "default")
        given = [asked.headers["authorization"] for asked in server.asked]
        assert given == ["Bearer old", "Bearer old", "Bearer new", "Bearer new", "Bearer new"]


async def test_a_token_file_that_is_gone_is_told_without_asking(tmp_path: Path) -> None:
    async with serve() as server:
        async with connect(tmp_path, server.url, user={"tokenFile": str(tmp_path / "none")}) as kube:
            with pytest.raises(errors.Denied, match="cannot be read"):
                await kube.get(PODS, "a", "default")
        assert server.asked == []


def make_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed one for 127.0.0.1, as a small cluster has: its file, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = folder / "ca.crt"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    both = folder / "server.pem"
    both.write_bytes(private + public.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return public, context


@pytest.mark.parametrize("wrap", [None, Wrapper([])], ids=["plain", "wrapped"])
async def test_a_private_ca_is_believed_where_the_kubeconfig_names_it(
    tmp_path: Path, wrap: Wrapper | None
) -> None:
    """By file or by its content; nobody else's certificate is, and the sentence says so."""
    authority, tls = make_certificate(tmp_path)
    inline = base64.b64encode(authority.read_bytes()).decode()
    async with serve(WHOLE, WHOLE, tls=tls) as server:
        for named in (
            {"certificate-authority": authority.name},
            {"certificate-authority-data": inline},
        ):
            async with connect(tmp_path, server.url, wrap=wrap, trusted=named) as kube:
                await kube.get(PODS, "a", "default")
        async with connect(tmp_path, server.url, wrap=wrap) as kube:
            with pytest.raises(errors.Transient, match="certificate"):
                await kube.get(PODS, "a", "default")
        assert len(server.asked) == 2


# --- the watch -------------------------------------------------------------------------------------------------------


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
