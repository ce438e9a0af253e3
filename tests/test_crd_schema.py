"""A struct becomes a CustomResourceDefinition, and a real API server takes it and does what the struct says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from tailrace.api import crd, kube, schema
from tailrace.api.conditions import Documented
from tailrace.errors import Bug
from tests.rig import apiserver, needs


class Colour(Documented):
    RED = "red", "Like a signal."
    BLUE = "blue", "Like the sea."


class Part(kube.Base, frozen=True, kw_only=True):
    """One part of a gadget,
    told apart by its name.
    """

    name: Annotated[str, Meta(min_length=1, max_length=20)]
    size: Annotated[int, Meta(gt=0, le=64)] = 1
    port: int | str | None = None


class GadgetSpec(kube.Base, frozen=True, kw_only=True):
    """What is wanted."""

    hostname: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,62}$", description="Name in the tailnet.")]
    colour: Colour = Colour.RED
    mode: Literal["auto", "kernel"] | None = None
    parts: Annotated[tuple[Part, ...], schema.list_by("name"), Meta(max_length=8)] = ()
    spare: Annotated[Part | None, schema.require("self.size < 10", "spares are small")] = None
    tags: Annotated[frozenset[Annotated[str, Meta(max_length=40)]], Meta(max_length=8)] = frozenset()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    template: Any = None
    enabled: bool = False


class GadgetStatus(kube.Base, frozen=True, kw_only=True):
    """What is so."""

    conditions: Annotated[tuple[kube.Condition, ...], schema.list_by("type")] = ()


class Gadget(kube.Object, frozen=True, kw_only=True):
    """A gadget."""

    spec: GadgetSpec
    status: GadgetStatus = GadgetStatus()


GADGETS = crd.Definition(
    group="test.tailrace.dev",
    version="v1alpha1",
    kind="Gadget",
    plural="gadgets",
    type=Gadget,
    short_names=("gd",),
    columns=(
        crd.Column(name="Hostname", path=".spec.hostname"),
        crd.Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status', description="Works."),
    ),
    rules=(("self.metadata.name != 'forbidden'", "this name is taken"),),
)


def build_spec() -> dict[str, Any]:
    found: dict[str, Any] = schema.build_schema(Gadget)["properties"]["spec"]
    return found


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            "hostname",
            {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$", "description": "Name in the tailnet."},
        ),
        ("colour", {"type": "string", "enum": ["blue", "red"], "default": "red"}),
        ("mode", {"type": "string", "enum": ["auto", "kernel"]}),
        (
            "tags",
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 40},
                "maxItems": 8,
                "x-kubernetes-list-type": "set",
            },
        ),
        ("labels", {"type": "object", "additionalProperties": {"type": "string"}}),
        ("template", {"x-kubernetes-preserve-unknown-fields": True}),
        ("enabled", {"type": "boolean"}),
    ],
)
def test_each_kind_of_field_has_its_structural_form(field: str, expected: dict[str, Any]) -> None:
    found = build_spec()["properties"][field]
    found.pop("description", None) if "description" not in expected else None
    assert found == expected


def test_a_struct_stands_where_it_is_used_with_its_docstring_marks_and_rules() -> None:
    spec = build_spec()
    parts, spare = spec["properties"]["parts"], spec["properties"]["spare"]
    assert spec["required"] == ["hostname"]
    assert parts["x-kubernetes-list-map-keys"] == ["name"]
    assert parts["items"]["description"] == "One part of a gadget, told apart by its name."
    assert parts["items"]["properties"]["size"] == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 64,
        "default": 1,
    }
    assert parts["items"]["properties"]["port"] == {"x-kubernetes-int-or-string": True}
    assert spare["properties"] == parts["items"]["properties"]
    assert spare["x-kubernetes-validations"] == [{"rule": "self.size < 10", "message": "spares are small"}]
    assert "$ref" not in json.dumps(crd.build_crd(GADGETS))


class Endless(kube.Base, frozen=True, kw_only=True):
    inner: tuple[Endless, ...] = ()


class Pair(kube.Base, frozen=True, kw_only=True):
    both: tuple[int, str] = (1, "a")


class Either(kube.Base, frozen=True, kw_only=True):
    one: int | bool = 1


class Keyed(kube.Base, frozen=True, kw_only=True):
    named: dict[Annotated[str, Meta(pattern="^a")], str] = msgspec.field(default_factory=dict)


@pytest.mark.parametrize("struct", [Endless, Pair, Either, Keyed])
def test_what_a_structural_schema_cannot_say_is_refused_and_not_lost(struct: type[msgspec.Struct]) -> None:
    with pytest.raises(Bug):
        schema.build_schema(struct)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    if lack := needs.explain(apiserver.BINARIES, tools=apiserver.TOOLS):
        pytest.skip(lack)
    with apiserver.start(tmp_path_factory.mktemp("rig")) as running:
        write(running, "crd", crd.build_crd(GADGETS))
        running.kubectl("apply", "--server-side", "-f", str(running.folder / "crd.json"))
        running.kubectl("wait", "--for=condition=Established", f"crd/{GADGETS.name}", "--timeout=120s")
        yield running


def write(server: apiserver.ApiServer, name: str, obj: object) -> str:
    path = server.folder / f"{name}.json"
    path.write_bytes(msgspec.json.encode(obj))
    return str(path)


def gadget(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "test.tailrace.dev/v1alpha1",
        "kind": "Gadget",
        "metadata": {"name": name},
        "spec": {"hostname": "web", **spec},
    }


def test_a_real_api_server_takes_the_definition_as_it_is(server: apiserver.ApiServer) -> None:
    """Structural, names accepted, and nothing that we wrote was changed or dropped."""
    live = json.loads(server.kubectl("get", "crd", GADGETS.name, "-o", "json"))
    assert {c["type"]: c["status"] for c in live["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    written = crd.build_crd(GADGETS)["spec"]
    assert {key: live["spec"][key] for key in written} == written


def test_a_real_api_server_fills_in_defaults_and_keeps_status_apart(server: apiserver.ApiServer) -> None:
    obj = gadget("good", parts=[{"name": "a", "port": "http"}], template={"any": {"thing": 1}}, tags=["x"])
    status = {
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    }
    server.kubectl("apply", "-f", write(server, "good", obj))
    patch = json.dumps({"status": status})
    server.kubectl("patch", "gadget", "good", "--type=merge", "--subresource=status", "-p", patch)
    live = json.loads(server.kubectl("get", "gd", "good", "-o", "json"))
    assert live["spec"]["colour"] == "red"
    assert live["spec"]["parts"] == [{"name": "a", "port": "http", "size": 1}]
    assert live["spec"]["template"] == {"any": {"thing": 1}}
    assert live["status"] == status
    assert msgspec.convert(live, Gadget).spec.parts == (Part(name="a", port="http"),)
    assert server.kubectl("get", "gd").split() == ["NAME", "HOSTNAME", "READY", "good", "web", "True"]


@pytest.mark.parametrize(
    ("obj", "told"),
    [
        (gadget("forbidden"), "this name is taken"),
        (gadget("bad", hostname="No"), "spec.hostname"),
        (gadget("bad", colour="green"), '"blue", "red"'),
        (gadget("bad", parts=[{"name": "a", "size": 0}]), "greater than 0"),
        (gadget("bad", parts=[{"name": "a"}, {"name": "a"}]), "Duplicate value"),
        (gadget("bad", spare={"name": "a", "size": 12}), "spares are small"),
    ],
)
def test_a_real_api_server_refuses_what_the_struct_forbids(
    server: apiserver.ApiServer, obj: dict[str, Any], told: str
) -> None:
    with pytest.raises(AssertionError, match=told):
        server.kubectl("create", "--dry-run=server", "-f", write(server, "bad", obj))
