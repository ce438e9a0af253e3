"""The client over real sockets: what each fault becomes, who we are and whom we believe, what is counted.

Each fault is shown twice, by a server and by the wrapper of `tests.support.faults`: so the wrapper may be believed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tailrace import errors
from tailrace.kube import client
from tailrace.kube.client import Kube
from tailrace.kube.resources import PODS
from tailrace.kube.status import Silent
from tests.kube.sockets import Finished, Wrapper, connect, pod, refusal
from tests.support import faults
from tests.support.scripted import Act, Nothing, Reply, serve

pytestmark = pytest.mark.anyio

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
    token = tmp_path / "token"
    with pytest.raises(errors.Usage, match=f"there is no file {token}"):
        connect(tmp_path, "https://127.0.0.1:1", user={"tokenFile": str(token)})
    token.write_text("s3cret-token")
    async with serve() as server:
        async with connect(tmp_path, server.url, user={"tokenFile": str(token)}) as kube:
            token.unlink()
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


async def test_a_guarded_client_reads_but_sends_no_write_that_is_not_allowed(tmp_path: Path) -> None:
    def refuse() -> None:
        raise errors.Transient("not now")

    seen: list[Finished] = []
    async with serve(WHOLE, WHOLE) as server, connect(tmp_path, server.url, seen=seen) as kube:
        guarded = kube.guard(refuse)
        await guarded.get(PODS, "a", "default")
        with pytest.raises(errors.Transient, match="not now"):
            await guarded.patch(PODS, "a", "default", {})
        with pytest.raises(errors.Transient, match="not now"):
            await guarded.delete(PODS, "a", "default")
        await kube.patch(PODS, "a", "default", {})
    assert [verb for verb, _, _ in seen] == ["get", "patch"]


@pytest.mark.parametrize("sent", ["nothing", "headers"])
async def test_a_write_is_asked_for_as_its_bytes_leave(tmp_path: Path, sent: str) -> None:
    """A process that is paused while it connects, or with half a request sent, wakes without a right to write."""
    got, closed = bytearray(), asyncio.Event()
    answers = iter([True, sent == "headers"])  # in its turn, with a connection; False from there on

    def allow() -> None:
        if not next(answers, False):
            raise errors.Transient("the lease is lost")

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read())
        writer.close()
        closed.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connect(tmp_path, f"http://127.0.0.1:{port}") as kube:
        with pytest.raises(errors.Transient, match="the lease is lost"):
            await kube.guard(allow).patch(PODS, "a", "default", {"metadata": {"labels": {}}})
        await closed.wait()
    head, _, body = bytes(got).partition(b"\r\n\r\n")
    assert (head.split(b" ")[0], body) == (b"PATCH" if sent == "headers" else b"", b"")


async def test_what_goes_beside_does_not_wait_in_the_line_of_a_slow_server() -> None:
    """All requests that may be under way hang; one more on the twin is answered at once."""
    hanging, release = asyncio.Semaphore(0), asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/urgent"):
            hanging.release()
            await release.wait()
        return httpx2.Response(200, json=pod("urgent", 1))

    http = httpx2.AsyncClient(base_url="http://cluster", transport=httpx2.MockTransport(answer))
    async with Kube(http, cluster_name="slow") as kube, asyncio.TaskGroup() as group:
        for _ in range(client.CALLS_AT_ONCE + 1):
            group.create_task(kube.get(PODS, "a", "default"))
        for _ in range(client.CALLS_AT_ONCE):
            await hanging.acquire()
        found = await kube.beside().get(PODS, "urgent", "default")
        assert (found.metadata.name, release.is_set()) == ("urgent", False)
        release.set()
