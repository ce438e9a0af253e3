"""One request to the Kubernetes API: the facade over lightkube's authenticated HTTP client.

Objects are decoded into the narrow struct of their `Resource`; what is written is a plain mapping, never something
that was decoded here, because unknown fields vanish on decode. Every failure leaves as an error of `tailrace.errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlencode

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError

import tailrace
from tailrace.api.kube import Object
from tailrace.errors import Denied, TailraceError, Transient
from tailrace.kube import config as kube_config
from tailrace.kube.resource import PAGE, Page, Resource
from tailrace.kube.status import Silent, Status, build_error, decode_status
from tailrace.wire.redact import redact

CALLS_AT_ONCE = 16
"""Requests under way together; watches are not counted. More would only wait inside the API server."""

TIMEOUT = httpx2.Timeout(30, connect=10, pool=None)

_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=CALLS_AT_ONCE, keepalive_expiry=30)


class Observer(Protocol):
    """Told of every finished request; `code` is the HTTP status, 0 when no answer came."""

    def __call__(self, verb: str, resource: str, code: int, seconds: float) -> None: ...


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def decode[S](kind: type[S], body: bytes | msgspec.Raw) -> S:
    """Read JSON into a struct with the one decoder of its kind; building one costs more than many uses."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    found: S = decoder.decode(body)
    return found


def allow_all() -> None:
    """Let every write pass."""


def no_observer(verb: str, resource: str, code: int, seconds: float) -> None:
    """Observe nothing."""


class Kube:
    """A cluster, and what can be asked of it. Use `connect`; close it when done, or use it as a context manager."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        watches: httpx2.AsyncClient | None = None,
        cluster_name: str,
        namespace: str = "default",
        observer: Observer | None = None,
    ) -> None:
        self._http = http
        self._watches = watches if watches is not None else http
        self._observe = observer if observer is not None else no_observer
        self._allow: Callable[[], None] = allow_all
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self.url = str(http.base_url).rstrip("/")  # the API server's address
        self.cluster_name = cluster_name
        self.namespace = namespace

    @classmethod
    def connect(
        cls,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        in_cluster_ok: bool = True,
        observer: Observer | None = None,
        wrap_transport: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None = None,
    ) -> Self:
        """Choose the cluster as kubectl would; nothing is sent yet.

        Args:
            wrap_transport: put something around the network, such as the tests' faults.

        Raises:
            Usage: the kubeconfig or the context is missing or broken.
        """
        config = kube_config.load_config(kubeconfig=kubeconfig, context=context, in_cluster_ok=in_cluster_ok)
        calls, watches = kube_config.open_clients(
            config, timeout=TIMEOUT, limits=_LIMITS, wrap_transport=wrap_transport
        )
        return cls(
            calls,
            watches=watches,
            cluster_name=config.context_name,
            namespace=config.namespace,
            observer=observer,
        )

    def beside(self) -> Self:
        """The same cluster and connections for what must not wait behind other requests: a lease that waits in the
        line of a slow server is lost. It is closed with this one, not by itself."""
        twin = copy.copy(self)
        twin._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        return twin

    def guard(self, allow: Callable[[], None]) -> Self:
        """The same cluster over the same connections, but every write asks `allow` as its bytes leave: nothing stands
        between the answer and the socket, neither a new connection nor another task. What `allow` raises ends the
        call. Closing either closes both."""
        twin = copy.copy(self)
        twin._allow = allow
        return twin

    async def close(self) -> None:
        await self._http.aclose()
        await self._watches.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get[T: Object](self, resource: Resource[T], name: str, namespace: str | None = None) -> T:
        """Read one object.

        Raises:
            NotFound: there is none of this name.
        """
        body = await self._call("get", resource, namespace, name)
        return self._decode(resource, body)

    async def list[T: Object](
        self, resource: Resource[T], namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Sequence[T]:
        """All objects of a namespace, or of the cluster when it is empty, page by page.

        Raises:
            Expired: the list changed too much between two pages.
        """
        found: list[T] = []
        params = _selectors(labels, fields) | {"limit": str(PAGE)}
        while True:
            page = self._decode_as(Page, await self.list_page(resource, namespace, params), "list")
            found += [self._decode(resource, item) for item in page.items or ()]
            if not page.metadata.continue_:
                return found
            params["continue"] = page.metadata.continue_

    async def list_page[T: Object](
        self, resource: Resource[T], namespace: str | None, params: Mapping[str, str]
    ) -> bytes:
        """One page of a list as it came."""
        return await self._call("list", resource, namespace, None, params=params)

    async def create[T: Object](
        self,
        resource: Resource[T],
        obj: Mapping[str, Any],
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> T:
        """Create an object; with `name` and `subresource` one that is made of another, such as a token of an account.

        Raises:
            Conflict: one of this name exists.
            Denied: we may not, or admission refuses it; the message is the server's own.
            Terminal: the object is not valid.
        """
        body = await self._call(
            "create",
            resource,
            namespace or _namespace_of(obj),
            name,
            subresource=subresource,
            params=_dry_run(dry_run),
            body=_named(resource, obj),
        )
        return self._decode(resource, body)

    async def apply[T: Object](
        self,
        resource: Resource[T],
        obj: Mapping[str, Any],
        *,
        manager: str,
        force: bool = True,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> T:
        """Server-side apply: the object gets the fields of `obj`, and loses those that `manager` applied before.

        Raises:
            Conflict: without `force`, another manager owns a field; or the object was made anew meanwhile.
            Terminal: the object is not valid.
        """
        params = {"fieldManager": manager, "force": "true" if force else "false"} | _dry_run(dry_run)
        body = await self._call(
            "apply",
            resource,
            _namespace_of(obj),
            obj["metadata"]["name"],
            subresource=subresource,
            params=params,
            body=_named(resource, obj),
        )
        return self._decode(resource, body)

    async def patch[T: Object](
        self,
        resource: Resource[T],
        name: str,
        namespace: str | None,
        body: Any,
        *,
        kind: Literal["merge", "json"] = "merge",
        subresource: str | None = None,
        manager: str | None = None,
    ) -> T:
        """Change some fields; `manager` is the field manager, where it matters. Strategic merge is not offered: custom resources refuse it.

        Raises:
            Conflict: `body` names a resourceVersion (merge) or tests a value (json) that is no longer so.
        """
        verb = "patch" if kind == "merge" else "patch-json"
        params = {"fieldManager": manager} if manager else None
        answer = await self._call(
            verb, resource, namespace, name, subresource=subresource, params=params, body=body
        )
        return self._decode(resource, answer)

    async def replace[T: Object](
        self, resource: Resource[T], obj: Mapping[str, Any], *, subresource: str | None = None
    ) -> T:
        """PUT a whole object, for the few that are wholly ours, such as the lease.

        Raises:
            Conflict: `obj` names a resourceVersion that is no longer the object's.
        """
        body = await self._call(
            "update",
            resource,
            _namespace_of(obj),
            obj["metadata"]["name"],
            subresource=subresource,
            body=_named(resource, obj),
        )
        return self._decode(resource, body)

    async def delete[T: Object](
        self,
        resource: Resource[T],
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """Delete an object; with `uid` or `resource_version` only if it still is that one.

        Raises:
            NotFound: it was not there.
            Conflict: it is not the one that was meant.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {key: value for key, value in preconditions.items() if value},
        }
        await self._call("delete", resource, namespace, name, body=options)

    @contextlib.asynccontextmanager
    async def stream[T: Object](
        self, resource: Resource[T], namespace: str | None, params: Mapping[str, str], *, silence: float
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """Open a watch and give its bytes as they come.

        Args:
            silence: seconds without a byte after which the stream is taken for dead.

        Raises:
            Silent: nothing came for that long.
            Expired: the version that was asked for is gone.
        """
        request = f"watch {resource.describe(namespace, None)}"
        timeout = httpx2.Timeout(30, connect=10, read=silence, pool=None)
        with self._observed("watch", resource.plural) as seen, self._translated(request):
            async with self._watches.stream(
                "GET", resource.path(namespace), params=dict(params), timeout=timeout
            ) as response:
                seen(response.status_code)
                if not response.is_success:
                    raise _refusal(response, await response.aread(), request)
                async with contextlib.aclosing(response.aiter_bytes()) as chunks:
                    yield chunks

    async def _call[T: Object](
        self,
        verb: str,
        resource: Resource[T],
        namespace: str | None,
        name: str | None,
        *,
        subresource: str | None = None,
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> bytes:
        method, content_type = _HOW[verb]
        path = resource.path(namespace, name, subresource)
        label = f"{resource.plural}/{subresource}" if subresource else resource.plural
        async with self._slots:
            writes = verb not in _READING
            if writes:
                self._allow()  # here too: a write that is not allowed opens no connection and is not counted
            with self._observed(verb, label) as seen:
                return await self._send(
                    method,
                    path,
                    request=f"{verb} {resource.describe(namespace, name)}",
                    params=params,
                    content=None if body is None else msgspec.json.encode(body),
                    content_type=content_type,
                    seen=seen,
                    extensions={"trace": self._fence} if writes else None,
                )

    async def _fence(self, event: str, _: Mapping[str, Any]) -> None:
        """Told by the HTTP library of each step of a write (httpx, "Request extensions", `trace`)."""
        if event in _BYTES_LEAVE:
            self._allow()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        request: str,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        seen: Callable[[int], None] = lambda code: None,
        extensions: dict[str, Any] | None = None,
    ) -> bytes:
        headers = _HEADERS if content is None else {**_HEADERS, "Content-Type": content_type}
        # Not by the client's own `request`: it takes the address apart three times, a quarter of a call's CPU.
        target = f"{self.url}{path}?{urlencode(params)}" if params else f"{self.url}{path}"
        sent = httpx2.Request(method, target, content=content, headers=headers, extensions=extensions)
        with self._translated(request):
            response = await self._http.send(sent)
        seen(response.status_code)
        if not response.is_success:
            raise _refusal(response, response.content, request)
        return response.content

    @contextlib.contextmanager
    def _translated(self, request: str) -> Generator[None]:
        """Turn what the HTTP library raises into our errors, with the cause kept."""
        try:
            yield
        except httpx2.ReadTimeout as error:
            raise Silent(f"The API server at {self.url} did not answer in time to: {request}.") from error
        except httpx2.TimeoutException as error:
            raise Transient(f"The API server at {self.url} did not answer in time to: {request}.") from error
        except httpx2.ConnectError as error:
            raise Transient(
                f"The API server at {self.url} cannot be reached: {redact(str(error))}."
            ) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            what = redact(str(error)) or type(error).__name__
            raise Transient(f"The connection to the API server at {self.url} broke: {what}.") from error
        except (ConfigError, OSError) as error:
            raise Denied(f"The credentials for {self.url} cannot be read: {redact(str(error))}.") from error

    @contextlib.contextmanager
    def _observed(self, verb: str, resource: str) -> Generator[Callable[[int], None]]:
        started, code = time.monotonic(), 0

        def seen(status: int) -> None:
            nonlocal code
            code = status

        try:
            yield seen
        finally:
            self._observe(verb, resource, code, time.monotonic() - started)

    def _decode[T: Object](self, resource: Resource[T], body: bytes | msgspec.Raw) -> T:
        return self._decode_as(resource.type, body, resource.kind)

    def _decode_as[S](self, kind: type[S], body: bytes | msgspec.Raw, what: str) -> S:
        try:
            return decode(kind, body)
        except msgspec.MsgspecError as error:
            raise Transient(f"The API server's answer is no {what} that can be read: {error}.") from error


_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"tailrace/{tailrace.__version__}",
}

_READING = frozenset({"get", "list"})

_BYTES_LEAVE = frozenset({"http11.send_request_headers.started", "http11.send_request_body.started"})
"""Headers and body go one after the other, and a process may be paused in between: a server acts on neither alone."""

_HOW: dict[str, tuple[str, str]] = {
    "get": ("GET", ""),
    "list": ("GET", ""),
    "create": ("POST", "application/json"),
    "apply": ("PATCH", "application/apply-patch+yaml"),
    "patch": ("PATCH", "application/merge-patch+json"),
    "patch-json": ("PATCH", "application/json-patch+json"),
    "update": ("PUT", "application/json"),
    "delete": ("DELETE", "application/json"),
}
"""Our verbs (those of RBAC, apply and JSON patch told apart): HTTP method and content type."""


def _refusal(response: httpx2.Response, body: bytes, request: str) -> TailraceError:
    status = decode_status(body) if body.lstrip()[:1] == b"{" else Status()
    return build_error(
        response.status_code, status, request=request, retry_after=response.headers.get("Retry-After", "")
    )


def _named[T: Object](resource: Resource[T], obj: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


def _namespace_of(obj: Mapping[str, Any]) -> str | None:
    namespace = obj.get("metadata", {}).get("namespace")
    return str(namespace) if namespace else None


def _dry_run(wanted: bool) -> dict[str, str]:
    return {"dryRun": "All"} if wanted else {}


def _selectors(labels: str, fields: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in chosen.items() if value}
