"""Create, read, update, patch and delete, and every way in which they are refused."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Talk
from tests.contract.kubernetes.talks.documents import account, configmap, pod, service, workload

_PLAIN = ("metadata", "data")


def what_is_not_there(talk: Talk) -> None:
    """404 for objects, collections, groups, versions, subresources and paths, each in its own words."""
    for path in (
        "configmaps/none",
        "apps/v1/statefulsets/none",
        "services/none/status",
        "/api/v1/namespaces/none",
        "/api/v1/namespaces/none/configmaps/none",
        "/api/v1/nothing",
        "/api/v1/namespaces/none/nothing/none",
        "/api/v2/pods",
        "/apis/nothing.example.com/v1/things",
        "/apis/nothing.example.com/v1",
        "/apis/nothing.example.com",
        "/apis/apps/v2",
        "/apis/apps/v1/nothing",
        "/nothing",
        "/api/v1/namespaces/none/nodes",
    ):
        talk.get(path)
    talk.put("configmaps/none", configmap("none"), show=_PLAIN)
    talk.patch("services/none", {"metadata": {"labels": {"a": "b"}}})
    talk.delete("services/none")
    talk.post("/api/v1/namespaces/nowhere/configmaps", configmap("a"))
    talk.put("/api/v1/namespaces/nowhere/configmaps/a", configmap("a"))
    talk.post("serviceaccounts/none/token", {"spec": {}})
    talk.post(
        "pods/none/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "none"}}
    )
    talk.post("pods/none/binding", {"target": {"kind": "Node", "name": "n"}, "metadata": {"name": "none"}})
    talk.get("apps/v1/deployments/none/scale")
    talk.post("configmaps/none/nothing", {})
    talk.get("configmaps/none/status")


def methods_that_are_not_allowed(talk: Talk) -> None:
    talk.post("configmaps/a", configmap("a"))
    talk.put("configmaps", configmap("a"))
    talk.patch("configmaps", {})
    talk.delete("/api/v1/namespaces")
    talk.ask("POST", "services/a/status", {})
    talk.delete("services/a/status")
    talk.get("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
    talk.get("serviceaccounts/a/token")
    talk.post("/version", {})
    talk.post("/api", {})
    talk.ask("OPTIONS", "configmaps")


def names_that_are_taken_or_missing(talk: Talk) -> None:
    talk.post("configmaps", configmap("a", data={"k": "v"}))
    talk.post("configmaps", configmap("a"))
    talk.post("apps/v1/statefulsets", workload("StatefulSet", "a"), show=("metadata.name",))
    talk.post("apps/v1/statefulsets", workload("StatefulSet", "a"))
    talk.post("configmaps", {"metadata": {}})
    talk.post("configmaps", {})
    talk.post("configmaps", configmap(""))
    talk.post("configmaps", configmap("Not_A_Name"))
    talk.post("configmaps", configmap("a" * 254))
    talk.post("configmaps", configmap("b", namespace="elsewhere"))
    talk.post("/api/v1/namespaces", {"metadata": {"name": talk.namespace}})
    talk.post("/api/v1/namespaces", {"metadata": {"name": "With.Dots"}})
    talk.post("services", service("1-digit"))
    talk.put("configmaps/a", configmap("other"))
    talk.put("configmaps/a", {"metadata": {}, "data": {"x": "y"}}, show=_PLAIN)
    talk.put("configmaps/a", configmap("a", namespace="elsewhere"))
    talk.patch("configmaps/a", {"metadata": {"name": "other"}})
    talk.patch("configmaps/a", {"metadata": {"namespace": "other"}})
    talk.patch("configmaps/a", {"metadata": {"uid": "other"}})
    talk.patch("services/none", {"metadata": {"uid": "other"}})


def bodies_of_another_kind(talk: Talk) -> None:
    talk.post("configmaps", configmap("a") | {"kind": "Secret"})
    talk.post("configmaps", configmap("a") | {"kind": "Nothing"})
    talk.post("configmaps", configmap("a") | {"apiVersion": "v2"})
    talk.post("configmaps", configmap("a") | {"apiVersion": "apps/v1"})
    talk.post("configmaps", {"metadata": {"name": "unsaid"}, "data": {"k": "v"}}, show=_PLAIN)
    talk.put("configmaps/unsaid", configmap("unsaid") | {"kind": "Secret"})
    talk.patch("configmaps/unsaid", {"apiVersion": "v2"})


def bodies_that_cannot_be_read(talk: Talk) -> None:
    talk.post("configmaps", b"")
    talk.post("configmaps", b"{")
    talk.post("configmaps", b"[]")
    talk.post("configmaps", b'"text"')
    talk.post("configmaps", b"null")
    talk.post("configmaps", b"not json")
    talk.post("configmaps", {"metadata": "text"})
    talk.post("configmaps", {"metadata": {"name": 7}})
    talk.post("configmaps", {"metadata": {"name": "a"}, "data": {"k": 7}})
    talk.post("configmaps", {"metadata": {"name": "a", "labels": ["a"]}})
    talk.post("services", {"metadata": {"name": "a"}, "spec": {"ports": "text"}})
    talk.post("services", {"metadata": {"name": "a"}, "spec": []})
    talk.post("configmaps", b"a: {b", headers={"Content-Type": "application/yaml"})
    text = b"metadata:\n  name: yaml\ndata:\n  k: v\n"
    talk.post("configmaps", text, headers={"Content-Type": "application/yaml"}, show=_PLAIN)
    talk.post("configmaps", b"{}", headers={"Content-Type": "text/plain"})
    talk.post("configmaps", b"{}", headers={"Content-Type": "application/xml"})
    talk.put("configmaps/yaml", b"{}", headers={"Content-Type": "text/plain"})
    talk.delete("configmaps/yaml", b"{", quiet=False)
    talk.delete("configmaps/yaml", {"propagationPolicy": "Sideways"})
    talk.delete("configmaps/yaml", {"kind": "Other", "apiVersion": "v1"})


def answers_that_are_not_served(talk: Talk) -> None:
    """406 lists what is; the first form that is served wins."""
    for accept in ("text/plain", "application/xml", "image/png, text/html"):
        talk.get("configmaps", headers={"Accept": accept}, note=accept)
    for accept in ("text/html, application/json", "*/*", "application/*", "application/json;charset=utf-8"):
        talk.get("configmaps/none", headers={"Accept": accept}, note=accept)


def too_large_bodies(talk: Talk) -> None:
    talk.post("configmaps", b'{"data": {"k": "' + b"x" * (3 * 1024 * 1024) + b'"}}')
    talk.post("configmaps", configmap("a", data={"k": "x" * (1024 * 1024 + 1)}))


def unknown_fields(talk: Talk) -> None:
    """Strict refuses, Warn warns, Ignore is silent; Warn is the default."""
    doc = configmap("a") | {"extra": 1, "metadata": {"name": "a", "labelz": {}}}
    talk.post("configmaps", doc, fieldValidation="Strict")
    talk.post("configmaps", doc, fieldValidation="Warn", dryRun="All", show=())
    talk.post("configmaps", doc, fieldValidation="Ignore", dryRun="All", show=())
    talk.post("configmaps", doc, show=())
    talk.post("configmaps", doc, fieldValidation="Maybe")
    talk.put("configmaps/a", doc, fieldValidation="Strict")
    talk.put("configmaps/a", doc, fieldValidation="Maybe")
    talk.put("configmaps/a", doc, show=())
    talk.patch("configmaps/a", {"extra": 2}, fieldValidation="Strict")
    talk.patch("configmaps/a", {"extra": 2}, fieldValidation="Maybe")
    talk.patch("configmaps/a", {"extra": 2}, show=())
    talk.patch("configmaps/a", {"extra": 2}, "strategic", fieldValidation="Strict")
    talk.patch(
        "configmaps/a", [{"op": "add", "path": "/extra", "value": 2}], "json", fieldValidation="Strict"
    )
    talk.apply("configmaps/a", configmap("a") | {"extra": 1}, fieldValidation="Strict")
    talk.apply("configmaps/a", configmap("a") | {"extra": 1})
    deep = service("deep") | {"spec": {"ports": [{"port": 1, "prt": 2}], "selectr": {}}}
    talk.post("services", deep, fieldValidation="Strict")
    talk.post("services", deep, show=())


def conflicts(talk: Talk) -> None:
    """An old version, another uid: whoever writes what they did not read is told."""
    first = talk.post("configmaps", configmap("a", data={"k": "1"}))
    talk.put("configmaps/a", configmap("a", data={"k": "2"}, resourceVersion=first.version), show=_PLAIN)
    talk.put("configmaps/a", configmap("a", data={"k": "3"}, resourceVersion=first.version))
    talk.put("configmaps/a", configmap("a", uid="00000000-0000-0000-0000-000000000000"))
    talk.put("configmaps/a", configmap("a", uid=first.uid, data={"k": "4"}), show=_PLAIN)
    talk.put("configmaps/a", configmap("a", resourceVersion="text"))
    talk.put("configmaps/a", configmap("a", resourceVersion="0"))
    talk.patch("configmaps/a", {"metadata": {"resourceVersion": first.version}, "data": {"k": "5"}})
    talk.patch("configmaps/a", {"metadata": {"resourceVersion": first.version}}, "strategic")
    test = [{"op": "test", "path": "/data/k", "value": "no"}, {"op": "remove", "path": "/data"}]
    talk.patch("configmaps/a", test, "json")
    talk.apply("configmaps/a", configmap("a", resourceVersion=first.version))
    talk.apply("configmaps/a", configmap("a", uid="00000000-0000-0000-0000-000000000000"))
    talk.apply("configmaps/new", configmap("new", uid="00000000-0000-0000-0000-000000000000"))
    talk.apply("configmaps/new", configmap("new", resourceVersion="7"))
    talk.post("configmaps", configmap("with-version", resourceVersion="7"))
    talk.delete("configmaps/a", {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})
    talk.delete("configmaps/a", {"preconditions": {"resourceVersion": "1"}})
    talk.delete("configmaps/a", {"preconditions": {"uid": first.uid}})
    talk.get("configmaps/a")


def patches(talk: Talk) -> None:
    """Three kinds of patch, and what each does not take."""
    talk.post("configmaps", configmap("a", data={"k": "1", "l": "2"}))
    talk.patch("configmaps/a", {"data": {"k": None, "m": "3"}}, show=_PLAIN)
    talk.patch("configmaps/a", {"data": {"n": "4"}}, "strategic", show=("data",))
    add = [{"op": "add", "path": "/data/o", "value": "5"}, {"op": "replace", "path": "/data/m", "value": "6"}]
    talk.patch("configmaps/a", add, "json", show=("data",))
    talk.patch("configmaps/a", [{"op": "remove", "path": "/data/none"}], "json")
    talk.patch("configmaps/a", [{"op": "sideways", "path": "/data/none"}], "json")
    talk.patch("configmaps/a", {"data": {}}, "json")
    talk.patch("configmaps/a", [], "merge")
    talk.patch("configmaps/a", b"{", "merge")
    talk.patch("configmaps/a", b"{", "strategic")
    talk.patch("configmaps/a", b"[", "json")
    talk.patch("configmaps/a", b"a: {", "apply", fieldManager="one")
    talk.patch("configmaps/a", {"data": {"k": 7}}, "merge")
    talk.patch("configmaps/a", {"data": "text"}, "merge")
    talk.patch("configmaps/a", {}, "application/json")
    talk.patch("configmaps/a", {}, "text/plain")
    talk.patch("configmaps/a", {"data": {"k": "8"}}, force="true")
    talk.patch("configmaps/a", configmap("a"), "apply")
    talk.apply("configmaps/a", configmap("b"))
    talk.apply("configmaps/a", configmap("a", namespace="elsewhere"))
    talk.apply("configmaps/a", {"metadata": {"name": "a"}})
    talk.apply("configmaps/a", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}})
    talk.apply("configmaps/a", {"apiVersion": "v1", "kind": "ConfigMap"}, show=("metadata.name",))
    talk.apply("configmaps/a", configmap("a", managedFields=[{"manager": "x"}]))


def dry_runs(talk: Talk) -> None:
    """Everything is judged, nothing is kept."""
    talk.post("configmaps", configmap("a"), dryRun="All", show=("metadata.name", "metadata.resourceVersion"))
    talk.get("configmaps/a")
    talk.post("configmaps", configmap("a", data={"k": "1"}))
    talk.post("configmaps", configmap("a"), dryRun="All")
    talk.put("configmaps/a", configmap("a", data={"k": "2"}), dryRun="All", show=_PLAIN)
    talk.patch("configmaps/a", {"data": {"k": "3"}}, dryRun="All", show=_PLAIN)
    talk.apply("configmaps/a", configmap("a", data={"l": "3"}), dryRun="All", show=_PLAIN)
    talk.apply("configmaps/b", configmap("b", data={"l": "3"}), dryRun="All", show=("data",))
    talk.delete("configmaps/a", dryRun="All")
    talk.delete("configmaps/a", {"dryRun": ["All"]})
    talk.delete("configmaps", labelSelector="a=b", dryRun="All", show=("items",))
    talk.get("configmaps/a", show=_PLAIN)
    talk.post("configmaps", configmap("c"), dryRun="Some")
    talk.put("configmaps/a", configmap("a"), dryRun="Some")
    talk.patch("configmaps/a", {}, dryRun="Some")
    talk.delete("configmaps/a", dryRun="Some")
    talk.get("configmaps/a", show=_PLAIN)


def collections_that_are_deleted(talk: Talk) -> None:
    """What the selectors choose goes; the rest stays."""
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        talk.post("configmaps", configmap(name, labels={"colour": colour}), quiet=True)
    gone = talk.delete(
        "configmaps", labelSelector="colour=red", show=("kind", "apiVersion", "items.metadata.name")
    )
    assert len(gone.body["items"]) == 2
    talk.get("configmaps", labelSelector="colour", show=("items.metadata.name",))
    talk.delete("configmaps", labelSelector="colour", fieldSelector="metadata.name=none", show=("items",))
    talk.delete(
        "configmaps", labelSelector="colour", fieldSelector="metadata.name=c", show=("items.metadata.name",)
    )
    talk.delete("configmaps", fieldSelector="data.k=v")


def a_deletion_answers(talk: Talk) -> None:
    """A Status with what went, or the object that is not gone yet."""
    talk.post("configmaps", configmap("a"), quiet=True)
    talk.delete("configmaps/a")
    talk.post("services", service("a"), quiet=True)
    talk.delete("services/a")
    talk.post("serviceaccounts", account("a"), quiet=True)
    talk.delete("serviceaccounts/a", show=("kind", "status", "details", "metadata.name"))
    talk.post("secrets", {"metadata": {"name": "a"}}, quiet=True)
    talk.delete("secrets/a", show=("kind", "status", "details", "metadata.name"))
    talk.post("serviceaccounts", account("runner"), quiet=True)
    talk.post("pods", pod("a"), quiet=True)
    talk.delete("pods/a", show=("kind", "status", "metadata.name", "metadata.deletionGracePeriodSeconds"))
    talk.get("pods/a")
    talk.post("apps/v1/statefulsets", workload("StatefulSet", "a"), quiet=True)
    talk.delete("apps/v1/statefulsets/a")
    talk.post("configmaps", configmap("b", finalizers=["example.com/hold"]), quiet=True)
    talk.delete("configmaps/b", show=("kind", "metadata"))


def heads(talk: Talk) -> None:
    """HEAD is a GET without a body."""
    for path in ("configmaps", "configmaps/none", "/version", "/nothing"):
        talk.ask("HEAD", path)
