"""CustomResourceDefinitions: from the definition to objects that are defaulted, pruned and judged, and back."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Answer, Doc, Talk
from tests.contract.kubernetes.talks.documents import crd, version

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SPEC: Doc = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "parts": {
            "type": "array",
            "maxItems": 2,
            "items": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_STATUS: Doc = {
    "type": "object",
    "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
}


def _define(talk: Talk, *versions: Doc) -> str:
    """A definition whose versions are served; the path of its objects in the first."""
    talk.post(_CRDS, crd(talk.word, *versions), quiet=True)
    for found in versions:
        talk.wait(f"{talk.word}.example.com/{found['name']}/widgets", lambda answer: answer.code == 200)
    return f"{talk.word}.example.com/{versions[0]['name']}/widgets"


def _widget(talk: Talk, name: str, **fields: object) -> Doc:
    return {
        "apiVersion": f"{talk.word}.example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
    } | fields


def _established(found: Answer) -> bool:
    conditions = found.body.get("status", {}).get("conditions") or []
    return any((c["type"], c["status"]) == ("Established", "True") for c in conditions)


def a_definition_is_established_and_served(talk: Talk) -> None:
    name = f"{_CRDS}/widgets.{talk.word}.example.com"
    talk.post(
        _CRDS,
        crd(talk.word, version("v1", {"spec": _SPEC})),
        show=("metadata.name", "metadata.generation", "spec.names", "spec.conversion"),
    )
    talk.wait(name, _established)
    talk.get(
        name,
        show=(
            "metadata.finalizers",
            "metadata.generation",
            "status.acceptedNames",
            "status.storedVersions",
            "status.conditions.type",
            "status.conditions.status",
            "status.conditions.reason",
            "status.conditions.message",
        ),
    )
    group = f"/apis/{talk.word}.example.com"
    talk.wait(f"{group}/v1", lambda found: found.code == 200)
    talk.get(group)
    talk.get(
        f"{group}/v1",
        show=(
            "kind",
            "groupVersion",
            "resources.name",
            "resources.kind",
            "resources.namespaced",
            "resources.shortNames",
        ),
    )
    talk.wait(f"/openapi/v3{group}/v1", lambda found: found.code == 200)
    found = talk.get(f"/openapi/v3{group}/v1", quiet=True).body
    talk.note(served=sorted(path for path in found["paths"] if "widgets" in path))
    talk.get(f"{group}/v2")
    talk.get(f"{group}/v1/gadgets")
    talk.get(f"{group}/v2/widgets")


def defaults_and_pruning(talk: Talk) -> None:
    path = _define(talk, version("v1", {"spec": _SPEC}))
    spec = {
        "size": 1,
        "extra": 1,
        "free": {"kept": {"as": ["it", "is"]}},
        "parts": [{"a": "x", "b": "y"}],
        "port": "http",
    }
    made = talk.post(
        path,
        _widget(talk, "a", spec=spec, other=1),
        show=("apiVersion", "kind", "metadata.generation", "spec", "other"),
    )
    assert made.code == 201
    talk.post(path, _widget(talk, "b", spec=spec), fieldValidation="Strict")
    talk.patch(f"{path}/a", {"spec": {"extra": 2}}, fieldValidation="Strict")
    talk.patch(f"{path}/a", {"spec": {"extra": 2}}, show=("metadata.generation", "spec"))
    talk.patch(f"{path}/a", {"spec": {"colour": None}}, show=("spec.colour",))
    talk.patch(f"{path}/a", {"spec": {"size": 2}}, show=("metadata.generation", "spec.size"))
    talk.patch(f"{path}/a", {"spec": {"size": 3}}, "strategic")
    talk.patch(
        f"{path}/a", [{"op": "replace", "path": "/spec/size", "value": 4}], "json", show=("spec.size",)
    )
    talk.put(f"{path}/a", _widget(talk, "a", spec={"size": 5}))
    talk.post(path, _widget(talk, "c", spec=spec) | {"kind": "Nothing"})
    talk.post(path, _widget(talk, "c", spec=spec) | {"apiVersion": "nothing/v1"})
    talk.get(f"{path}/none")
    talk.get(f"{path}/a/status")
    talk.post(path, {"metadata": {"name": "c"}})
    talk.get(path, show=("kind", "apiVersion", "items.kind", "items.apiVersion", "items.metadata.name"))


def structural_validation(talk: Talk) -> None:
    path = _define(talk, version("v1", {"spec": _SPEC}))
    for spec in (
        {},
        {"size": 0},
        {"size": 10},
        {"size": "text"},
        {"size": 1.5},
        {"size": 1, "colour": "green"},
        {"size": 1, "name": "Abc"},
        {"size": 1, "name": "abcdefg"},
        {"size": 1, "parts": [{}, {}, {}]},
        {"size": 1, "parts": "text"},
        {"size": 1, "tags": {"a": 1}},
        {"size": 1, "port": True},
        {"size": 1, "parts": None},
    ):
        talk.post(path, _widget(talk, "a", spec=spec), dryRun="All", show=("spec",))


def rules(talk: Talk) -> None:
    """CEL on creation, on change, and with a path and a reason of its own."""
    spec: Doc = {
        "type": "object",
        "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}, "fixed": {"type": "string"}},
        "x-kubernetes-validations": [
            {"rule": "self.low <= self.high", "message": "low is over high"},
            {
                "rule": "!has(oldSelf.fixed) || self.fixed == oldSelf.fixed",
                "messageExpression": "'fixed was ' + oldSelf.fixed",
            },
            {"rule": "self.high < 100", "fieldPath": ".high", "reason": "FieldValueForbidden"},
        ],
    }
    path = _define(talk, version("v1", {"spec": spec}))
    talk.post(path, _widget(talk, "a", spec={"low": 2, "high": 1}))
    talk.post(path, _widget(talk, "a", spec={"low": 1, "high": 100}))
    talk.post(path, _widget(talk, "a", spec={"low": 1, "high": 2, "fixed": "x"}), show=("spec",))
    talk.patch(f"{path}/a", {"spec": {"fixed": "y"}})
    talk.patch(f"{path}/a", {"spec": {"high": 3}}, show=("spec",))


def status_and_scale(talk: Talk) -> None:
    scale = {
        "specReplicasPath": ".spec.size",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    path = _define(
        talk, version("v1", {"spec": _SPEC, "status": _STATUS}, subresources={"status": {}, "scale": scale})
    )
    talk.post(
        path,
        _widget(talk, "a", spec={"size": 1}, status={"replicas": 7}),
        show=("spec", "status", "metadata.generation"),
    )
    change = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"size": 2},
        "status": {"replicas": 3, "selector": "a=b"},
    }
    talk.patch(
        f"{path}/a/status", change, show=("spec.size", "status", "metadata.labels", "metadata.generation")
    )
    talk.patch(
        f"{path}/a",
        change | {"status": {"replicas": 9}},
        show=("spec.size", "status.replicas", "metadata.labels", "metadata.generation"),
    )
    talk.get(f"{path}/a/scale")
    talk.patch(f"{path}/a/scale", {"spec": {"replicas": 4}}, show=("kind", "spec", "status"))
    talk.patch(f"{path}/a/scale", {"spec": {"replicas": 40}})
    talk.get(f"{path}/a", show=("spec.size", "metadata.generation"))


def columns(talk: Talk) -> None:
    printed = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "how large"},
        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
    ]
    path = _define(talk, version("v1", {"spec": _SPEC}, additionalPrinterColumns=printed))
    talk.post(path, _widget(talk, "a", spec={"size": 1}), quiet=True)
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    talk.get(path, headers=table, show=("columnDefinitions.name", "columnDefinitions.priority", "rows.cells"))


def several_versions(talk: Talk) -> None:
    """One storage; each version shows its name, its schema prunes."""
    other: Doc = {
        "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "colour": {"type": "string"}}}
    }
    _define(talk, version("v1", {"spec": _SPEC}), version("v2", other, storage=False))
    group = f"{talk.word}.example.com"
    talk.post(
        f"{group}/v1/widgets",
        _widget(talk, "a", spec={"size": 1, "colour": "blue"}),
        show=("apiVersion", "spec"),
    )
    talk.get(f"{group}/v2/widgets/a", show=("apiVersion", "metadata.generation", "spec.size"))
    talk.get(f"{group}/v2/widgets", show=("apiVersion", "kind", "items.apiVersion", "items.kind"))
    talk.patch(
        f"{group}/v2/widgets/a",
        {"spec": {"size": 2}},
        show=("apiVersion", "spec.size", "metadata.generation"),
    )
    talk.get(f"{group}/v1/widgets/a", show=("apiVersion", "spec.size"))


def definitions_that_cannot_be(talk: Talk) -> None:
    good = version("v1", {"spec": _SPEC})
    talk.post(_CRDS, crd(talk.word, good | {"storage": False}))
    talk.post(_CRDS, crd(talk.word, good, good))
    talk.post(_CRDS, crd(talk.word, {"name": "v1", "served": True, "storage": True}))
    talk.post(_CRDS, crd(talk.word, good) | {"metadata": {"name": "other"}})
    talk.post(_CRDS, crd(talk.word, version("v1", {"spec": {"type": "object", "properties": {"a": {}}}})))
    wrong = {"type": "object", "x-kubernetes-validations": [{"rule": "self.nothing ==="}]}
    made = talk.post(_CRDS, crd(talk.word, version("v1", {"spec": wrong})), quiet=True)
    assert made.code == 422


def a_definition_changes(talk: Talk) -> None:
    """A new schema counts from then on; what is stored stays."""
    path = _define(
        talk, version("v1", {"spec": {"type": "object", "properties": {"old": {"type": "string"}}}})
    )
    talk.post(path, _widget(talk, "a", spec={"old": "x"}), quiet=True)
    name = f"{_CRDS}/widgets.{talk.word}.example.com"
    later = crd(
        talk.word,
        version(
            "v1", {"spec": {"type": "object", "properties": {"new": {"type": "string", "default": "y"}}}}
        ),
    )
    talk.put(name, later)
    current = talk.get(name, quiet=True).version
    later["metadata"]["resourceVersion"] = current
    talk.put(name, later, show=("metadata.generation",))
    trial = _widget(talk, "b", spec={})
    talk.wait(f"{path}?dryRun=All", lambda found: found.body.get("spec") == {"new": "y"}, "POST", trial)
    talk.post(path, _widget(talk, "b", spec={"old": "x", "new": "z"}), show=("spec", "metadata.generation"))
    talk.patch(name, {"spec": {"scope": "Cluster"}})
    talk.patch(name, {"spec": {"names": {"plural": "gadgets"}}})


def a_definition_goes_with_its_objects(talk: Talk) -> None:
    path = _define(talk, version("v1", {"spec": _SPEC}))
    held = _widget(talk, "held", spec={"size": 1})
    held["metadata"]["finalizers"] = ["example.com/hold"]
    talk.post(path, held, quiet=True)
    talk.post(path, _widget(talk, "free", spec={"size": 1}), quiet=True)
    name = f"{_CRDS}/widgets.{talk.word}.example.com"
    talk.delete(name, show=("kind", "metadata.finalizers"))
    talk.wait_gone(f"{path}/free")
    talk.get(name, show=("metadata.finalizers",))
    talk.get(f"{path}/held", show=("metadata.finalizers",))
    talk.patch(f"{path}/held", {"metadata": {"finalizers": None}}, quiet=True)
    talk.wait_gone(name)
    talk.wait_gone(path)
    talk.get(path)


def a_new_schema_is_read_into_what_is_stored(talk: Talk) -> None:
    """Its defaults appear, and what it does not know goes, before anybody writes the object again."""
    old: Doc = {"type": "object", "properties": {"gone": {"type": "string"}, "kept": {"type": "string"}}}
    path = _define(talk, version("v1", {"spec": old}))
    made = talk.post(path, _widget(talk, "a", spec={"gone": "x", "kept": "y"}))
    new: Doc = {
        "type": "object",
        "properties": {"kept": {"type": "string"}, "born": {"type": "integer", "default": 3}},
    }
    name = f"{_CRDS}/widgets.{talk.word}.example.com"
    versions = crd(talk.word, version("v1", {"spec": new}))["spec"]["versions"]
    talk.patch(name, {"spec": {"versions": versions}}, quiet=True)
    talk.wait(f"{path}/a", lambda found: "born" in found.body["spec"])
    assert talk.get(f"{path}/a", show=("spec", "metadata.generation")).version == made.version
    talk.get(path, show=("items.spec",))
    talk.events(path, 1, show=("spec",))
    talk.patch(f"{path}/a", {"metadata": {"labels": {"a": "b"}}}, show=("spec", "metadata.generation"))
    talk.apply(f"{path}/a", _widget(talk, "a", spec={"kept": "z"}), force="true", show=("spec",))
