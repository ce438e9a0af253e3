"""The API over HTTP: `kubectl`, client-go programs and the operator talk to this.

Place: an ASGI application over `Cluster`. Discovery, OpenAPI, objects, lists, watches; errors are `Status` documents.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from tailrace.sandbox.faults import Faults
from tailrace.sandbox.kubernetes import admin, discovery, impersonation, status
from tailrace.sandbox.kubernetes.admission import ANONYMOUS, User
from tailrace.sandbox.kubernetes.answers import Presenter, encode
from tailrace.sandbox.kubernetes.cluster import Cluster, PatchKind
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.descriptions import Descriptions, nothing_there
from tailrace.sandbox.kubernetes.documents import duplicates
from tailrace.sandbox.kubernetes.exchange import Answer, Request, build_failure, read_all, refuse, send_answer
from tailrace.sandbox.kubernetes.rbac import Attributes
from tailrace.sandbox.kubernetes.requests import (
    Target,
    build_call,
    check_list_options,
    check_patch_options,
    parse_target,
    patch_kind,
    read_patch,
    read_removal,
    wanted_form,
)
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Doc
from tailrace.sandbox.kubernetes.watching import Page, Selection, Watch

log = structlog.get_logger(__name__)

BOOKMARK_SECONDS = 60.0
_WATCH_SECONDS = (1800.0, 3600.0)
_HEALTH = ("/healthz", "/livez", "/readyz")
_PATH_VERBS = {"POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete", "HEAD": "head"}
_INSIDE = ("attach", "exec", "portforward", "proxy")
_SHOWN_WHEN_GONE = frozenset(
    ("", resource)
    for resource in (
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    )
)
"""Kinds whose deletion answers the object that went; the others answer a Status."""

LogReader = Callable[[str, str, str, int | None], str | None]
"""(namespace, pod, container, last lines or all) → text; None when that container does not run here."""


class ApiServer:
    """Serve it with `sandbox.serve.Listener`. `requests` counts what was asked, by user, verb and resource."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.faults = Faults()
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.read_log: LogReader = lambda *_: None
        self.mute = False  # watches stay open and say nothing
        self.admin: dict[tuple[str, str], Callable[..., Any]] = {
            ("POST", "watches/cut"): lambda _: self.cut_watches(),
            ("POST", "watches/mute"): lambda _: setattr(self, "mute", True),
            ("POST", "watches/unmute"): lambda _: setattr(self, "mute", False),
            ("POST", "history/compact"): lambda _: self.compact(),
            ("PUT", "faults"): self._set_faults,
        }
        self._watches: set[Watch] = set()
        self._descriptions = Descriptions(cluster.registry)

    # Faults ------------------------------------------------------------------------------------------------------

    def cut_watches(self) -> None:
        """Every watch that is open ends now; clients may come back."""
        for watch in list(self._watches):
            watch.close()

    def compact(self) -> None:
        """Forget history: who comes back with an old version is told 410."""
        self.cluster.store.compact()

    def _set_faults(self, switches: Doc) -> None:
        """What is not named is off."""
        self.faults.set(switches)

    # ASGI --------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call()
        try:
            if not scope["path"].startswith(admin.PREFIX) and (verdict := self.faults.verdict()):
                raise build_failure(*verdict)
            request = Request(scope, await read_all(receive))
            user = self._authenticate(request)
            call = build_call(user, request.query, request.header(b"user-agent"), request.method)
            target = parse_target(request.path)
            if target is None:
                answer = await self._answer_path(request, user)
            else:
                found = await self._answer_target(request, target, call)
                if isinstance(found, _Stream):
                    await self._stream(found, receive, send)
                    return
                answer = found
        except ApiError as error:
            answer = refuse(error)
        except Exception:  # a fault of the sandbox: its user gets a Status, its log what happened
            log.exception("request failed", method=scope["method"], path=scope["path"])
            answer = refuse(ApiError(500, "InternalError", "Internal error occurred: see the sandbox's log"))
        for warning in dict.fromkeys(call.warnings):
            answer.add("warning", '299 - "' + warning.replace("\\", "\\\\").replace('"', '\\"') + '"')
        await send_answer(send, answer)

    def _authenticate(self, request: Request) -> User:
        scheme, _, token = request.header(b"authorization").partition(" ")
        user: User | None = ANONYMOUS
        if scheme.lower() == "bearer":
            user = self.cluster.tokens.user_of(token.strip())
        if user is None:
            raise status.unauthorized()
        if wanted := impersonation.requested(request.all_headers):
            return impersonation.impersonate(self.cluster.access, user, wanted, _asked_for(request))
        return user

    # What is no resource -----------------------------------------------------------------------------------------

    async def _answer_path(self, request: Request, user: User) -> Answer:
        path = request.path.rstrip("/") or "/"
        if path.startswith(admin.PREFIX):
            self.cluster.access.check(user, Attributes(verb=request.method.lower(), path=path))
            return await admin.answer(self.admin, request)
        self.cluster.access.check(user, Attributes(verb=_PATH_VERBS.get(request.method, "get"), path=path))
        if path.startswith(_HEALTH):
            return Answer(b"ok", media="text/plain; charset=utf-8")
        if path in ("/api", "/apis") and discovery.wants_aggregated(request.header(b"accept")):
            return Answer(self._descriptions.aggregated(path), media=discovery.AGGREGATED)
        if path == "/openapi/v2" and request.header(b"accept").startswith("application/com.github"):
            raise ApiError(
                406, "NotAcceptable", "only the following media types are accepted: application/json"
            )
        found = self._descriptions.read(path)
        if request.method != "GET":
            raise status.method_not_allowed()
        return Answer(found)

    # Resources ---------------------------------------------------------------------------------------------------

    async def _answer_target(self, request: Request, target: Target, call: Call) -> Answer | _Stream:
        resource = self._resource(target, request.method, call.user)
        watching = request.method == "GET" and request.query.flag("watch") and not target.name
        verb = _verb(request.method, target, watching)
        self.requests[
            call.user.name,
            verb,
            target.ref.resource + ("/" + target.subresource if target.subresource else ""),
        ] += 1
        await self.faults.linger(verb, target.ref.resource)
        if resource.storage == ("", "pods") and target.subresource in _INSIDE:
            raise self._refuse_inside(request, target, call)
        _check_verb(resource, target, verb)
        streams = not target.name and "watch" in resource.verbs
        form = wanted_form(request.header(b"accept"), streams=streams)
        include = request.query.text("includeObject")
        presenter = Presenter(resource, form, include, self.cluster.core.clock())
        match verb:
            case "watch":
                return self._watch(request, target, resource, presenter, call)
            case "list":
                return Answer(presenter.collection(self._list(request, target, resource, call)))
            case "get" if target.subresource == "log":
                return self._log(request, target, call)
            case "get":
                doc = self.cluster.get(
                    target.ref,
                    target.name,
                    namespace=target.namespace,
                    subresource=target.subresource,
                    version=request.query.text("resourceVersion"),
                    call=call,
                )
                return Answer(_one(presenter, doc, target))
            case "create":
                doc = self.cluster.create(
                    target.ref,
                    request.document(_kind_at(resource, target), call),
                    namespace=target.namespace or ("default" if resource.namespaced else ""),
                    name=target.name,
                    subresource=target.subresource,
                    call=call,
                )
                return Answer(_one(presenter, doc, target, resource), 201)
            case "update":
                doc = self.cluster.update(
                    target.ref,
                    target.name,
                    request.document(_kind_at(resource, target), call),
                    namespace=target.namespace,
                    subresource=target.subresource,
                    call=call,
                )
                return Answer(_one(presenter, doc, target))
            case "patch":
                return self._patch(request, target, resource, presenter, call)
            case "delete" | "deletecollection":
                return self._delete(request, target, resource, presenter, call)
        raise status.method_not_allowed()

    def _resource(self, target: Target, method: str, user: User) -> Resource:
        """Raises 404, but 403 to who may not even ask."""
        ref, registry = target.ref, self.cluster.registry
        found = registry.find(ref)
        if found is not None and (found.namespaced or not target.namespace):
            return found
        verb = {"GET": "get" if target.name else "list", "POST": "create", "PUT": "update"}.get(
            method, method.lower()
        )
        asked = Attributes(
            verb=verb,
            group=ref.group,
            resource=ref.resource,
            subresource=target.subresource,
            namespace=target.namespace,
            name=target.name,
        )
        self.cluster.access.check(user, asked)
        raise nothing_there(registry, ref.group)

    def _selection(self, request: Request, target: Target, resource: Resource) -> Selection:
        query = request.query
        return Selection(
            resource=resource,
            namespace=target.namespace,
            labels=query.text("labelSelector"),
            fields=query.text("fieldSelector"),
            name=target.name,
        )

    def _list(self, request: Request, target: Target, resource: Resource, call: Call) -> Page:
        query = request.query
        check_list_options(query, watching=False)
        return self.cluster.list(
            self._selection(request, target, resource),
            limit=query.number("limit"),
            token=query.text("continue"),
            version=query.text("resourceVersion"),
            match=query.text("resourceVersionMatch"),
            call=call,
        )

    def _watch(
        self, request: Request, target: Target, resource: Resource, presenter: Presenter, call: Call
    ) -> _Stream:
        query = request.query
        check_list_options(query, watching=True)
        bookmarks = query.flag("allowWatchBookmarks")
        watch = self.cluster.watch(
            self._selection(request, target, resource),
            version=query.text("resourceVersion"),
            initial=query.flag("sendInitialEvents"),
            bookmarks=bookmarks,
            call=call,
        )
        seconds = float(query.number("timeoutSeconds")) or random.uniform(*_WATCH_SECONDS)
        return _Stream(watch, presenter, bookmarks, seconds)

    def _patch(
        self, request: Request, target: Target, resource: Resource, presenter: Presenter, call: Call
    ) -> Answer:
        kind = patch_kind(request.content_type, resource)
        check_patch_options(kind, request.query)
        body = read_patch(request.body, kind)
        if call.field_validation != "Ignore":
            _note_duplicates(request.body, kind, call)
        doc, created = self.cluster.patch(
            target.ref,
            target.name,
            body,
            kind,
            namespace=target.namespace,
            subresource=target.subresource,
            call=call,
        )
        return Answer(_one(presenter, doc, target), 201 if created else 200)

    def _delete(
        self, request: Request, target: Target, resource: Resource, presenter: Presenter, call: Call
    ) -> Answer:
        options = request.document("DeleteOptions") if request.body.strip() else {}
        removal, trial = read_removal(options, request.query)
        call = dataclasses.replace(call, dry_run=call.dry_run or trial)
        if not target.name:
            wanted = self._selection(request, target, resource)
            items = self.cluster.delete_collection(wanted, removal=removal, call=call)
            return Answer(presenter.collection(Page(items=list(items), version=self.cluster.store.version)))
        doc, gone = self.cluster.delete(
            target.ref, target.name, namespace=target.namespace, removal=removal, call=call
        )
        if not gone or resource.storage in _SHOWN_WHEN_GONE:
            return Answer(presenter.object(doc))
        details = {
            "name": target.name,
            "group": resource.group,
            "kind": resource.resource,
            "uid": doc["metadata"]["uid"],
        }
        return Answer(
            encode(
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Success",
                    "details": {key: value for key, value in details.items() if value},
                }
            )
        )

    def _refuse_inside(self, request: Request, target: Target, call: Call) -> ApiError:
        """What would reach into a container: there is none. Raises 403, 404."""
        self.cluster.access.check(call.user, _asked_for(request))
        pod = self.cluster.get(target.ref, target.name, namespace=target.namespace)
        if not pod["spec"].get("nodeName"):
            return status.bad_request(f"pod {target.name} does not have a host assigned")
        why = f"the sandbox only simulates what runs in pod {target.name}: there is nothing to {target.subresource}"
        return status.bad_request(why)

    def _log(self, request: Request, target: Target, call: Call) -> Answer:
        pod = self.cluster.get(
            target.ref, target.name, namespace=target.namespace, subresource="log", call=call
        )
        names = [container["name"] for container in pod["spec"]["containers"]]
        container = request.query.text("container") or names[0]
        if container not in names:
            raise status.bad_request(f"container {container} is not valid for pod {target.name}")
        tail = request.query.number("tailLines") if request.query.text("tailLines") else None
        text = self.read_log(target.namespace, target.name, container, tail)
        if text is None:
            why = f'container "{container}" in pod "{target.name}" is waiting to start'
            raise status.bad_request(why)
        return Answer(text.encode(), media="text/plain")

    # Streams -----------------------------------------------------------------------------------------------------

    async def _stream(self, stream: _Stream, receive: Receive, send: Send) -> None:
        """Send events until the client goes, time is up, or the watch is cut."""
        self._watches.add(stream.watch)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        gone = asyncio.create_task(_gone(receive), name="watch client")
        pump = asyncio.create_task(self._pump(stream, send), name="watch")
        tick = asyncio.create_task(stream.tick(), name="watch bookmarks")
        try:
            await asyncio.wait({gone, pump}, timeout=stream.seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stream.watch.close()
            self._watches.discard(stream.watch)
            for task in (gone, tick):
                task.cancel()
            if gone.done():
                pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(gone, pump, tick, return_exceptions=True)
            if not gone.done() or gone.cancelled():
                with contextlib.suppress(OSError, RuntimeError):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, stream: _Stream, send: Send) -> None:
        async for events in stream.watch:
            if self.mute:
                continue
            body = b"".join(stream.presenter.event(event) for event in events)
            await send({"type": "http.response.body", "body": body, "more_body": True})


class _Stream:
    def __init__(self, watch: Watch, presenter: Presenter, bookmarks: bool, seconds: float) -> None:
        self.watch = watch
        self.presenter = presenter
        self.bookmarks = bookmarks
        self.seconds = seconds

    async def tick(self) -> None:
        """Bookmarks, for who asked for them."""
        while self.bookmarks:
            await asyncio.sleep(BOOKMARK_SECONDS)
            self.watch.bookmark()


def _one(presenter: Presenter, doc: Doc, target: Target, resource: Resource | None = None) -> bytes:
    """An object; what a subresource or a review answers has no other form."""
    if (
        target.subresource not in ("", "status")
        or (resource and resource.virtual)
        or doc.get("kind") == "Status"
    ):
        return encode(doc)
    return presenter.object(doc)


def _verb(method: str, target: Target, watching: bool) -> str:
    match method:
        case "GET":
            return "watch" if watching else "get" if target.name else "list"
        case "POST" if not target.name or target.subresource:
            return "create"
        case "PUT" if target.name:
            return "update"
        case "PATCH" if target.name:
            return "patch"
        case "DELETE":
            return "delete" if target.name else "deletecollection"
    raise status.method_not_allowed()


def _check_verb(resource: Resource, target: Target, verb: str) -> None:
    """Raises 404 for a subresource that is not there, 405 for what cannot be done with one that is."""
    if target.subresource and target.subresource not in resource.subresources:
        if resource.crd is not None:
            raise status.not_found(resource.group, resource.resource, target.name)
        raise status.no_such_resource()
    allowed = discovery.subresource_verbs(target.subresource) if target.subresource else resource.verbs
    if verb not in allowed:
        raise status.method_not_allowed()


def _note_duplicates(body: bytes, kind: PatchKind, call: Call) -> None:
    """Of a patch. Raises 400 for an apply that has to be strict."""
    if kind == "apply":
        found = duplicates.in_yaml(body)
        if found and call.field_validation == "Strict":
            why = "\n  ".join(["yaml: unmarshal errors:", *found])
            raise status.bad_request(f"error strict decoding YAML: error converting YAML to JSON: {why}")
        call.warnings.extend(found)
    elif kind != "json":
        call.duplicates.extend(duplicates.in_json(body))


def _kind_at(resource: Resource, target: Target) -> str:
    """What is written there."""
    return (
        discovery.subresource_kind(resource, target.subresource).kind if target.subresource else resource.kind
    )


def _asked_for(request: Request) -> Attributes:
    """The request as authorization sees it."""
    target = parse_target(request.path)
    if target is None:
        return Attributes(verb=_PATH_VERBS.get(request.method, "get"), path=request.path)
    watching = request.method == "GET" and request.query.flag("watch") and not target.name
    own = target.name if target.ref.resource == "namespaces" and not target.ref.group else ""
    return Attributes(
        verb=_verb(request.method, target, watching),
        group=target.ref.group,
        resource=target.ref.resource,
        subresource=target.subresource,
        namespace=target.namespace or own,
        name=target.name,
    )


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
