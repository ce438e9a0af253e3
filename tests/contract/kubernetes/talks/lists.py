"""Lists and watches: selectors, pages, versions, forms, and what each stream begins and ends with."""

from __future__ import annotations

from typing import Any

from tests.contract.kubernetes.talk import Talk
from tests.contract.kubernetes.talks.documents import account, configmap, pod, service

_NAMES = ("items.metadata.name",)
_EVENT = ("kind", "metadata.name", "metadata.labels", "metadata.resourceVersion")
_OURS = {"labelSelector": "set"}  # other controllers put their own objects into every namespace
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def _three(talk: Talk) -> None:
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        labels = {"set": "x", "colour": colour, "size": name}
        talk.post("configmaps", configmap(name, labels=labels), quiet=True)


def lists_of_built_in_kinds(talk: Talk) -> None:
    """Items do not say their kind, the list does."""
    _three(talk)
    found = talk.get(
        "configmaps",
        **_OURS,
        show=("kind", "apiVersion", "items.kind", "items.apiVersion", "items.metadata.name"),
    )
    assert found.body["metadata"]["resourceVersion"]
    talk.get("secrets", show=("kind", "items"))
    talk.get("/api/v1/namespaces/nowhere/configmaps", show=("kind", "items"))


def label_selectors(talk: Talk) -> None:
    _three(talk)
    for selector in (
        "colour=red",
        "set,colour==blue",
        "set,colour!=red",
        "colour in (red, blue),size notin (a)",
        "set,!size",
        "colour,size",
        "set, colour = red ",
        "nothing",
    ):
        talk.get("configmaps", labelSelector=selector, show=_NAMES)


def field_selectors(talk: Talk) -> None:
    _three(talk)
    for selector in (
        "metadata.name=a",
        "metadata.name!=a",
        "metadata.name=a,metadata.namespace=" + talk.namespace,
    ):
        talk.get("configmaps", **_OURS, fieldSelector=selector, show=_NAMES)
    for selector in ("data.k=v", "metadata.labels=x", "nothing", "metadata.name>a"):
        talk.get("configmaps", fieldSelector=selector)
    talk.get("pods", fieldSelector="spec.nodeName=x,status.phase!=Running", show=("items",))
    talk.get("pods", fieldSelector="spec.containers=x")
    talk.get("secrets", fieldSelector="type=Opaque", show=("items",))
    talk.get("services", fieldSelector="spec.type=ClusterIP", show=("items",))
    talk.get("services", fieldSelector="spec.ports=1")
    talk.get("serviceaccounts", fieldSelector="type=1")
    talk.get("apps/v1/statefulsets", fieldSelector="spec.replicas=1")
    talk.get("/api/v1/nodes", fieldSelector="spec.unschedulable=true", show=("items",))
    talk.get("/api/v1/namespaces", fieldSelector=f"metadata.name={talk.namespace}", show=_NAMES)
    talk.get("events", fieldSelector="involvedObject.name=x,reason=y", show=("items",))


def pages(talk: Talk) -> None:
    """`limit` cuts, `continue` goes on in the same snapshot; what remains is not counted under a selector."""
    _three(talk)
    every = {"limit": "2", "fieldSelector": "metadata.name!=kube-root-ca.crt"}
    first = talk.get(
        "configmaps", **every, show=(*_NAMES, "metadata.continue", "metadata.remainingItemCount")
    )
    token = first.body["metadata"]["continue"]
    talk.post("configmaps", configmap("bb"), quiet=True)
    rest = talk.api.http.get(
        talk.path("configmaps"),
        params=every | {"continue": token},
        headers={"Authorization": f"Bearer {talk.api.token}"},
    ).json()
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]
    assert rest["metadata"]["resourceVersion"] == first.version
    assert "continue" not in rest["metadata"]
    talk.get("services", limit="5", show=("metadata.continue", "items"))
    for name in ("a", "b", "c"):
        talk.post("secrets", {"metadata": {"name": name}}, quiet=True)
    talk.get("secrets", limit="1", show=(*_NAMES, "metadata.remainingItemCount", "metadata.continue"))
    page: dict[str, Any] = {"continue": "nonsense"}
    talk.get("secrets", **page)
    talk.get("configmaps", limit="text")
    talk.get("configmaps", limit="-1", **_OURS, show=_NAMES)


def versions_of_lists(talk: Talk) -> None:
    """At least that version, exactly that version, or the newest; what cannot be is refused."""
    _three(talk)
    before = talk.get("configmaps/c", quiet=True).version
    talk.delete("configmaps/a", quiet=True)
    asked: tuple[dict[str, Any], ...] = (
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "NotOlderThan"},
        {"limit": "5"},
        {"limit": "5", "resourceVersionMatch": "Exact"},
        {},
    )
    for more in asked:
        _ask_at(talk, before, more)
    talk.get("configmaps", resourceVersion="0", **_OURS, show=("kind",))
    talk.get("configmaps", resourceVersion="0", resourceVersionMatch="Exact")
    talk.get("configmaps", resourceVersion="text")
    talk.get("configmaps", resourceVersion="-1")
    talk.get("configmaps", resourceVersionMatch="Exact")
    talk.get("configmaps", resourceVersion="1", resourceVersionMatch="Sideways")
    talk.get("configmaps", resourceVersion="0", resourceVersionMatch="NotOlderThan", show=("kind",))
    talk.get("configmaps/c", resourceVersion="0", show=("kind",))


def _ask_at(talk: Talk, version: str, more: dict[str, Any]) -> None:
    found = talk.ask("GET", "configmaps", quiet=True, resourceVersion=version, labelSelector="set", **more)
    names = [item["metadata"]["name"] for item in found.body["items"]]
    if not more or more.get("resourceVersionMatch") == "NotOlderThan":
        names = [
            name for name in names if name != "a"
        ]  # deleted since: a real server's cache may not know it yet
    talk.note(asked=more, code=found.code, names=names)


def versions_of_the_future(talk: Talk) -> None:
    """504 with a wish to be asked again. A real server waits three seconds before it says so."""
    found = talk.get("configmaps", resourceVersion="999999999")
    assert found.code == 504


def partial_objects(talk: Talk) -> None:
    _three(talk)
    talk.get("configmaps/a", headers={"Accept": _PARTIAL})
    talk.get(
        "configmaps",
        **_OURS,
        headers={"Accept": _PARTIALS},
        show=("kind", "apiVersion", "items.kind", "items.apiVersion", "items.metadata.name", "items.data"),
    )
    talk.get("configmaps/a", headers={"Accept": f"{_PARTIAL},application/json"}, show=("kind",))
    talk.get("configmaps/a", headers={"Accept": _PARTIALS}, note="a list of one")
    talk.get("configmaps", **_OURS, headers={"Accept": _PARTIAL}, note="one of a list")
    talk.get("configmaps/none", headers={"Accept": _PARTIAL})
    talk.patch(
        "configmaps/a", {"data": {"k": "v"}}, headers={"Accept": _PARTIAL}, show=("kind", "metadata.labels")
    )


def tables(talk: Talk) -> None:
    """Columns and cells; `includeObject` says how much of each object comes along."""
    _three(talk)
    rows = ("kind", "apiVersion", "columnDefinitions.name", "rows.object.kind", "rows.object.metadata.name")
    for include in ("", "None", "Metadata", "Object"):
        query = {"includeObject": include} if include else {}
        talk.get("configmaps/a", headers={"Accept": _TABLE}, show=rows, **query)
        talk.get("configmaps", headers={"Accept": _TABLE}, show=rows, **_OURS, **query)
    talk.get("configmaps", headers={"Accept": _TABLE}, includeObject="Bogus")
    talk.get("configmaps/none", headers={"Accept": _TABLE})
    talk.get(
        "services",
        headers={"Accept": f"{_TABLE},application/json"},
        show=("kind", "columnDefinitions.name", "rows"),
    )


def a_watch_from_now(talk: Talk) -> None:
    """Without a version it begins with what is there; then what happens comes."""
    talk.post("configmaps", configmap("a", labels={"set": "x"}), quiet=True)
    with talk.watch("configmaps", **_OURS) as events:
        seen = [next(events)]
        talk.post("configmaps", configmap("b", labels={"set": "x"}), quiet=True)
        seen.append(next(events))
        talk.patch("configmaps/b", {"data": {"k": "v"}}, quiet=True)
        seen.append(next(events))
        talk.delete("configmaps/b", quiet=True)
        seen.append(next(events))
    talk.tell(seen, _EVENT)
    assert int(seen[3]["object"]["metadata"]["resourceVersion"]) > int(
        seen[2]["object"]["metadata"]["resourceVersion"]
    )
    assert seen[3]["object"]["data"] == {"k": "v"}


def a_watch_from_a_version(talk: Talk) -> None:
    """Only what came after it, in order; an object that is written twice comes twice."""
    since = talk.post("configmaps", configmap("a"), quiet=True).version
    for value in ("1", "2"):
        talk.patch("configmaps/a", {"data": {"k": value}}, quiet=True)
    talk.post("configmaps", configmap("b"), quiet=True)
    talk.delete("configmaps/a", quiet=True)
    query = {"fieldSelector": "metadata.name!=kube-root-ca.crt"}
    with talk.watch("configmaps", resourceVersion=since, **query) as events:
        seen = [next(events) for _ in range(4)]
    talk.tell(seen, (*_EVENT, "data", "metadata.deletionTimestamp"))


def a_watch_of_one_object(talk: Talk) -> None:
    since = talk.post("configmaps", configmap("a"), quiet=True).version
    talk.post("configmaps", configmap("b"), quiet=True)
    talk.patch("configmaps/a", {"data": {"k": "v"}}, quiet=True)
    for path, query in (("configmaps", {"fieldSelector": "metadata.name=a"}),):
        with talk.watch(path, resourceVersion=since, **query) as events:
            talk.tell([next(events)], _EVENT)


def selectors_in_a_watch(talk: Talk) -> None:
    """What begins to match is ADDED, what ceases to is DELETED with its last matching state and the new version."""
    since = talk.post("configmaps", configmap("a", labels={"colour": "blue"}), quiet=True).version
    for labels in (
        {"colour": "red"},
        {"colour": "red", "x": "y"},
        {"colour": "blue", "x": None},
        {"x": "z"},
        {"colour": "red"},
    ):
        talk.patch("configmaps/a", {"metadata": {"labels": labels}}, quiet=True)
    talk.delete("configmaps/a", quiet=True)
    with talk.watch("configmaps", resourceVersion=since, labelSelector="colour=red") as events:
        talk.tell([next(events) for _ in range(5)], _EVENT)


def fields_in_a_watch(talk: Talk) -> None:
    """A pod leaves the watch of those without a node when it gets one."""
    talk.post("serviceaccounts", account("runner"), quiet=True)
    since = talk.post("pods", pod("a"), quiet=True).version
    target = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "nowhere"}}
    talk.post("pods/a/binding", target, quiet=True)
    with talk.watch("pods", resourceVersion=since, fieldSelector="spec.nodeName=") as events:
        talk.tell([next(events)], (*_EVENT, "spec.nodeName"))
    with talk.watch("pods", resourceVersion=since, fieldSelector="spec.nodeName=nowhere") as events:
        talk.tell([next(events)], (*_EVENT, "spec.nodeName"))


def initial_events(talk: Talk) -> None:
    """A streamed list: what is there, then a bookmark that says so, then what happens."""
    _three(talk)
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    with talk.watch("configmaps", **query, **_OURS) as events:
        seen = [next(events) for _ in range(4)]
        talk.post("configmaps", configmap("d", labels={"set": "x"}), quiet=True)
        seen.append(next(events))
    seen[3]["object"]["metadata"].pop("resourceVersion")
    talk.tell(seen, (*_EVENT, "apiVersion", "metadata.annotations"))
    talk.get("configmaps", watch="1", sendInitialEvents="true")
    talk.get(
        "configmaps", watch="1", sendInitialEvents="true", resourceVersionMatch="Exact", resourceVersion="1"
    )
    talk.get("configmaps", watch="1", resourceVersionMatch="NotOlderThan", resourceVersion="1")
    talk.get("configmaps", sendInitialEvents="true", resourceVersionMatch="NotOlderThan")


def a_watch_ends_in_time(talk: Talk) -> None:
    with talk.watch("secrets", timeoutSeconds="1") as events:
        talk.note(events=list(events))


def watches_that_cannot_be(talk: Talk) -> None:
    talk.get("configmaps", watch="1", resourceVersion="text")
    talk.get("configmaps", watch="1", timeoutSeconds="text")
    talk.get("configmaps", watch="1", fieldSelector="data.k=v")
    talk.get("configmaps", watch="1", headers={"Accept": "text/plain"})
    talk.get("/api/v1/watch/nothing")


def watches_as_tables(talk: Talk) -> None:
    """Columns come with the first event; every row says what it is."""
    since = talk.post("configmaps", configmap("a", labels={"set": "x"}), quiet=True).version
    talk.patch("configmaps/a", {"data": {"k": "v"}}, quiet=True)
    talk.delete("configmaps/a", quiet=True)
    rows = ("kind", "apiVersion", "columnDefinitions.name", "rows.object.kind", "rows.object.metadata.name")
    with talk.watch("configmaps", accept=_TABLE, resourceVersion=since, **_OURS) as events:
        talk.tell([next(events) for _ in range(2)], rows)
    with talk.watch("configmaps", accept=_PARTIAL, resourceVersion=since, **_OURS) as events:
        talk.tell([next(events) for _ in range(2)], ("kind", "apiVersion", "metadata.name", "data"))


def watches_know_their_namespace(talk: Talk) -> None:
    """One of all namespaces sees what one of another does not."""
    since = talk.post("services", service("a"), quiet=True).version
    talk.post("/api/v1/namespaces/default/configmaps", configmap(talk.word, labels={"set": "x"}), quiet=True)
    talk.post("configmaps", configmap(talk.word, labels={"set": "x"}), quiet=True)
    name = {"fieldSelector": f"metadata.name={talk.word}", "resourceVersion": since}
    with talk.watch("configmaps", **name) as events:
        talk.tell([next(events)], ("metadata.namespace",))
    with talk.watch("/api/v1/configmaps", **name) as events:
        talk.tell([next(events) for _ in range(2)], ("metadata.namespace",))
