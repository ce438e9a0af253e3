"""What cannot be read: applied documents of the wrong shape, selectors that are none, versions that are no numbers."""

from __future__ import annotations

from typing import Any

from tests.contract.kubernetes.talk import YAML, Doc, Talk
from tests.contract.kubernetes.talks.documents import configmap


def _service(**spec: Any) -> Doc:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}


def _pod(**container: Any) -> Doc:
    spec = {"containers": [{"name": "a", "image": "i", **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}


def applied_types(talk: Talk) -> None:
    """A field of another type than its kind's schema has is told before anything is merged, in any order: one each."""
    for spec in (
        {"ports": [{"port": "x"}]},
        {"ports": [{"port": True}]},
        {"ports": {"port": 80}},
        {"ports": ["x"]},
        {"type": 5},
        {"type": {"a": [1, "b", None]}},
        {"selector": {"a": 1.5}},
        {"externalIPs": "x"},
        {"publishNotReadyAddresses": "x"},
        {"foo": 1},
    ):
        talk.apply("services/a", _service(**spec), note=str(spec))
    talk.apply("services/a", _service() | {"spec": "x"})
    talk.apply("configmaps/a", configmap("a") | {"data": ["a", {"b": 1}]})
    talk.apply("configmaps/a", configmap("a", immutable="yes"))
    talk.apply("configmaps/a", configmap("a") | {"metadata": {"name": "a", "labels": {"a": True}}})


def applied_twice(talk: Talk) -> None:
    """Two items of a list that its keys, or its members, do not tell apart."""
    talk.apply("services/a", _service(ports=[{"port": 80}, {"port": 80}]))
    talk.apply("pods/a", _pod(env=[{"name": "A"}, {"name": "A"}, {"name": "A"}]))
    metadata = {"name": "a", "finalizers": ["a.example/b", "a.example/b"]}
    talk.apply("configmaps/a", configmap("a") | {"metadata": metadata})


def applied_conversions(talk: Talk) -> None:
    """What the schema has no type for is told when the document is decoded."""
    talk.apply("services/a", _service(ports=[{"port": 80, "targetPort": [1]}]))
    talk.apply("services/a", _service(ports=[{"port": 80.5}]))
    talk.apply("pods/a", _pod(resources={"limits": {"cpu": "x"}}))
    talk.apply("configmaps/a", configmap("a", binaryData={"a": "!!"}))
    talk.apply("configmaps/a", configmap("a") | {"metadata": {"name": "a", "creationTimestamp": 5}})


def label_selectors(talk: Talk) -> None:
    for selector in (
        "a in",
        "a in (",
        "a in ()",
        "a in (b",
        "a in (b c)",
        "a in (b,=)",
        "a notin b",
        "a b",
        "a gt 1",
        "a==b==c",
        "a=b=c",
        "a=b c",
        "a=(",
        "a>b",
        "!",
        "!a=b",
        ",",
        "a,,b",
        "a,",
        "(",
        "-a",
        "a=-x",
        "a in (-x,y z)",
        "x/y/z=1",
    ):
        talk.get("configmaps", labelSelector=selector)
    for selector in ("a in (b,)", "a in (,)", "a>-1", "a = ", " a , !b ", "in=notin", "in in (in)"):
        talk.get("configmaps", labelSelector=selector, show=("kind",))
    talk.delete("configmaps?labelSelector=a%20in%20(")


def field_selectors(talk: Talk) -> None:
    for selector in ("metadata.name=a=b", "metadata.name", "a=b"):
        talk.get("configmaps", fieldSelector=selector)
    for selector in ("metadata.name==a,,", "=", r"metadata.name=a\=b", r"metadata.name=a\,b"):
        talk.get("configmaps", fieldSelector=selector, show=("kind",))


def versions_of_one(talk: Talk) -> None:
    """An object may be asked for that is not older than a version."""
    talk.post("configmaps", configmap("a"), quiet=True)
    for version in ("x", "-1", "1.5"):
        talk.get("configmaps/a", resourceVersion=version)
        talk.get("configmaps/nothing", resourceVersion=version)
    talk.get("configmaps/a", resourceVersion="0", show=("kind",))
    talk.get("configmaps/a", resourceVersion="999999999")


def inside_a_pod(talk: Talk) -> None:
    """Nobody gets into a pod that is nowhere."""
    talk.post("pods", _pod(), quiet=True)
    for door in ("exec", "attach", "portforward"):
        talk.get(f"pods/a/{door}")
        talk.post(f"pods/a/{door}", None)
        talk.get(f"pods/nothing/{door}")


def fields_said_twice(talk: Talk) -> None:
    """The last counts; a strict server refuses, another warns."""
    text = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","name":"a"},"data":{"k":"1","k":"2"},"foo":1}'
    lines = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  name: b\ndata:\n  k: '1'\n  k: '2'\n"
    ports = (
        b'{"metadata":{"name":"s"},"spec":{"ports":[{"port":80,"port":81},{"name":"b","port":82,"bar":1}]}}'
    )
    merge, twice = b'{"data":{"k":"1","k":"3"}}', b'{"data":{"k":"1","k":"3"},"data":{"l":"1"}}'
    for how in ("Strict", "Warn", "Ignore"):
        talk.post("configmaps", text, fieldValidation=how, dryRun="All", show=("data",), note="JSON")
        headers = {"Content-Type": YAML}
        talk.post(
            "configmaps",
            lines,
            fieldValidation=how,
            dryRun="All",
            headers=headers,
            show=("data",),
            note="YAML",
        )
    talk.post("services", ports, fieldValidation="Strict")
    talk.post("configmaps", configmap("a", data={"k": "1"}), quiet=True)
    talk.put("configmaps/a", text, fieldValidation="Strict")
    for how in ("Strict", "Warn"):
        talk.patch("configmaps/a", merge, fieldValidation=how, show=("data",), note="merge")
        talk.patch("configmaps/a", merge, "strategic", fieldValidation=how, show=("data",), note="strategic")
        talk.apply(
            "configmaps/a", text.replace(b',"foo":1', b""), fieldValidation=how, force="true", show=("data",)
        )
    talk.apply("configmaps/a", lines.replace(b"name: b", b"name: a"), force="true", show=("data",))
    talk.patch("configmaps/a", twice, show=("data",), note="twice")
