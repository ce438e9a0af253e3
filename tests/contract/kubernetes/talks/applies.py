"""Server-side apply: ownership, conflicts, lists with keys, and status."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Doc, Talk
from tests.contract.kubernetes.talks.documents import configmap, crd, service, version, workload

_OWNED = ("metadata.managedFields", "data")


def created_and_changed(talk: Talk) -> None:
    first = talk.apply("configmaps/a", configmap("a", data={"k": "1"}), show=_OWNED)
    assert first.code == 201
    again = talk.apply("configmaps/a", configmap("a", data={"k": "1"}), show=_OWNED)
    assert again.version == first.version
    talk.apply("configmaps/a", configmap("a", data={"k": "2", "l": "3"}), show=_OWNED)
    talk.apply("configmaps/a", configmap("a", data={"l": "3"}), show=_OWNED)
    talk.apply("configmaps/a", configmap("a"), show=_OWNED)
    talk.apply("configmaps/b", configmap("b"), show=_OWNED)


def conflicts(talk: Talk) -> None:
    """Somebody else's value is refused with who has it, unless it is forced."""
    talk.apply("configmaps/a", configmap("a", data={"k": "1", "l": "1"}), quiet=True)
    talk.apply("configmaps/a", configmap("a", data={"k": "2"}), "two")
    talk.apply("configmaps/a", configmap("a", data={"k": "2", "l": "2"}), "two")
    talk.patch("configmaps/a", {"data": {"k": "3"}}, fieldManager="kubectl-edit", quiet=True)
    talk.apply("configmaps/a", configmap("a", data={"k": "1", "l": "2"}), "two")
    talk.apply("configmaps/a", configmap("a", data={"k": "1", "l": "2"}), "two", force="true", show=("data",))
    talk.apply("configmaps/a", configmap("a", data={"k": "1"}), "two", show=("data",))
    talk.apply("configmaps/a", configmap("a", data={"k": "9"}), "two", dryRun="All", show=("data",))


def shared_fields(talk: Talk) -> None:
    """The same value has two owners; it stays until both let go."""
    talk.apply("configmaps/a", configmap("a", data={"k": "1", "l": "1"}), "one", quiet=True)
    talk.apply("configmaps/a", configmap("a", data={"k": "1"}), "two", show=_OWNED)
    talk.apply("configmaps/a", configmap("a", data={"l": "1"}), "one", show=_OWNED)
    talk.apply("configmaps/a", configmap("a"), "two", show=_OWNED)


def lists_with_keys(talk: Talk) -> None:
    """Ports and containers are merged by their keys, each part with its owner."""
    doc = service("a", ports=[{"name": "a", "port": 80}])
    talk.apply("services/a", doc, "one", show=("spec.ports", "metadata.managedFields"))
    talk.apply(
        "services/a",
        service("a", ports=[{"name": "b", "port": 81}]),
        "two",
        show=("spec.ports", "metadata.managedFields"),
    )
    talk.apply("services/a", service("a", ports=[{"name": "x", "port": 81}]), "three")
    talk.apply("services/a", service("a", ports=[{"name": "c", "port": 82}]), "one", show=("spec.ports",))
    made = workload("StatefulSet", "a")
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    talk.apply("apps/v1/statefulsets/a", made, "one", show=("metadata.managedFields",))
    other: Doc = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}}
    container = {"name": "main", "env": [{"name": "B", "value": "2"}]}
    other["spec"] = {"template": {"spec": {"containers": [container]}}}
    talk.apply("apps/v1/statefulsets/a", other, "two", show=("spec.template.spec.containers.env",))
    container["env"] = [{"name": "A", "value": "2"}]
    talk.apply("apps/v1/statefulsets/a", other, "two")


def finalizers_and_owners(talk: Talk) -> None:
    """Sets of scalars and lists keyed by uid in the metadata."""
    talk.apply(
        "configmaps/a", configmap("a", finalizers=["example.com/a"], labels={"a": "b"}), "one", quiet=True
    )
    talk.apply(
        "configmaps/a",
        configmap("a", finalizers=["example.com/b"]),
        "two",
        show=("metadata.finalizers", "metadata.managedFields"),
    )
    talk.apply("configmaps/a", configmap("a"), "one", show=("metadata.finalizers", "metadata.labels"))
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "x",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    talk.apply(
        "configmaps/b",
        configmap("b", ownerReferences=[owner]),
        "one",
        dryRun="All",
        show=("metadata.ownerReferences", "metadata.managedFields"),
    )


def what_cannot_be_applied(talk: Talk) -> None:
    talk.apply(
        "services/a",
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "bar": 1},
    )
    talk.apply("services/a", service("a", ports=[{"port": 0}]))
    talk.apply(
        "apps/v1/statefulsets/a", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}
    )
    talk.apply(
        "apps/v1/statefulsets/a", {"apiVersion": "apps/v2", "kind": "StatefulSet", "metadata": {"name": "a"}}
    )
    talk.apply("apps/v1/statefulsets/a", workload("StatefulSet", "a") | {"metadata": {"generateName": "a"}})
    talk.apply("configmaps/none/nothing", configmap("none"))
    talk.apply("/api/v1/namespaces/nowhere/configmaps/a", configmap("a"))


def status_is_its_own(talk: Talk) -> None:
    """Who applies the status owns nothing of the spec, and the other way round."""
    widget = {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    _define(talk, version("v1", widget, subresources={"status": {}}))
    path, doc = _widget(talk)
    talk.apply(
        path,
        doc | {"spec": {"a": 1}, "status": {"b": 1}},
        "one",
        show=("spec", "status", "metadata.managedFields"),
    )
    talk.apply(
        f"{path}/status",
        doc | {"spec": {"a": 2}, "status": {"b": 2}},
        "two",
        show=("spec", "status", "metadata.managedFields"),
    )
    talk.apply(f"{path}/status", doc | {"status": {"b": 3}}, "three")


def another_version(talk: Talk) -> None:
    """Ownership is kept by version; the same field through another version is still that manager's."""
    schema = {"spec": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}
    _define(talk, version("v1", schema), version("v2", schema, storage=False))
    path, doc = _widget(talk)
    talk.apply(path, doc | {"spec": {"a": 1, "b": 1}}, "one", show=("apiVersion", "spec"))
    newer = doc | {"apiVersion": doc["apiVersion"].replace("/v1", "/v2")}
    talk.apply(path.replace("/v1/", "/v2/"), newer | {"spec": {"a": 2}}, "two")
    talk.apply(
        path.replace("/v1/", "/v2/"),
        newer | {"spec": {"a": 2}},
        "one",
        show=("apiVersion", "spec", "metadata.managedFields"),
    )
    talk.apply(path.replace("/v1/", "/v2/"), doc | {"spec": {"a": 2}}, "one")
    talk.get(path, show=("apiVersion", "spec", "metadata.generation"))


def _define(talk: Talk, *versions: Doc) -> None:
    name = f"widgets.{talk.word}.example.com"
    talk.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(talk.word, *versions), quiet=True
    )
    for found in versions:
        talk.wait(f"{talk.word}.example.com/{found['name']}/widgets", lambda answer: answer.code == 200)
    assert name


def _widget(talk: Talk) -> tuple[str, Doc]:
    group = f"{talk.word}.example.com"
    return f"{group}/v1/widgets/a", {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "a"}}
