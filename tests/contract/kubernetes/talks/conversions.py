"""Services that change between an address and a name, as an operator makes them for egress, and go back."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Doc, Talk
from tests.contract.kubernetes.talks.documents import service

_SPEC, _OWNED = ("spec",), ("spec", "metadata.managedFields")
_NAME: Doc = {"type": "ExternalName", "externalName": "a.b.svc.cluster.local"}


def _applied(**spec: object) -> Doc:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}


def a_name_instead_of_an_address_by_put(talk: Talk) -> None:
    """As the official operator does it: what it read, with another type and without selector."""
    made = talk.post("services", service("a"), show=_SPEC).body
    spec = {k: v for k, v in made["spec"].items() if k != "selector"} | _NAME
    talk.put("services/a", made | {"spec": spec}, show=_SPEC)
    back = made["spec"] | {"type": "ClusterIP"}
    fresh = talk.get("services/a", quiet=True).body
    talk.put("services/a", fresh | {"spec": back}, show=_SPEC)


def a_name_instead_of_an_address_by_patch(talk: Talk) -> None:
    for kind in ("merge", "strategic"):
        name = kind[0]
        talk.post("services", service(name), show=("spec.type",))
        talk.patch(f"services/{name}", {"spec": _NAME | {"selector": None}}, kind, show=_SPEC)
        talk.patch(f"services/{name}", {"spec": _NAME | {"clusterIP": "127.96.255.9"}}, kind)
        talk.patch(
            f"services/{name}", {"spec": {"type": "ClusterIP", "externalName": None}}, kind, show=_SPEC
        )
        talk.patch(f"services/{name}", {"spec": {"type": None}}, kind, show=_SPEC)


def a_name_for_a_headless_one(talk: Talk) -> None:
    talk.post("services", service("a", clusterIP="None"), show=_SPEC)
    talk.patch("services/a", {"spec": _NAME}, show=_SPEC)
    talk.patch("services/a", {"spec": {"type": "ClusterIP"}}, show=_SPEC)
    talk.patch("services/a", {"spec": {"type": "ExternalName"}}, show=_SPEC)
    talk.patch("services/a", {"spec": {"type": "ClusterIP", "clusterIP": "None"}}, show=_SPEC)


def a_name_for_a_balanced_one(talk: Talk) -> None:
    talk.post("services", service("a", type="LoadBalancer", loadBalancerClass="example.com/lb"), show=_SPEC)
    talk.patch("services/a", {"spec": _NAME}, show=_SPEC)
    talk.patch("services/a", {"spec": {"type": "LoadBalancer"}}, show=_SPEC)


def a_name_applied_over_an_address(talk: Talk) -> None:
    """Whoever applied the Service first owns its type: another one must force; it gets what it did not write back."""
    talk.apply("services/a", _applied(ports=[{"port": 80}], selector={"a": "b"}), "user", show=_OWNED)
    talk.apply("services/a", _applied(**_NAME), "operator", show=_OWNED)
    talk.apply("services/a", _applied(ports=[{"port": 80}], selector={"a": "b"}), "user", show=_OWNED)
    talk.apply("services/a", _applied(type="ClusterIP", ports=[{"port": 80}]), "user")
    talk.apply("services/a", _applied(), "operator", show=_OWNED)
    talk.apply("services/a", _applied(type="ClusterIP", ports=[{"port": 80}]), "user", show=_OWNED)
    talk.apply("services/a", _applied(**_NAME), "operator")
    talk.apply("services/a", _applied(**_NAME), "operator", force="true", show=_OWNED)
    talk.apply("services/a", _applied(type="ClusterIP", ports=[{"port": 80}]), "user")


def an_address_that_was_written_must_be_taken_back(talk: Talk) -> None:
    """A name does not stand beside an address that somebody applied."""
    made = talk.post("services", service("a"), quiet=True).body["spec"]["clusterIP"]
    talk.apply("services/a", _applied(clusterIP=made, ports=[{"port": 80}]), "user", show=_SPEC)
    talk.apply("services/a", _applied(**_NAME), "operator", force="true", show=_SPEC)
    talk.apply("services/b", _applied(**_NAME) | {"metadata": {"name": "b"}}, "operator", show=_OWNED)
    talk.apply("services/b", _applied(**_NAME, clusterIP="") | {"metadata": {"name": "b"}}, "operator")
    talk.apply("services/b", _applied(**_NAME, clusterIP="None") | {"metadata": {"name": "b"}}, "operator")
