"""What follows a deletion: dependents of owners, and what is in a namespace."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Answer, Doc, Talk
from tests.contract.kubernetes.talks.documents import configmap

_HOLD = "example.com/hold"
_KEPT = ("metadata.finalizers", "metadata.ownerReferences.name")


def _owner(found: Answer, *, blocks: bool = False, name: str = "") -> Doc:
    metadata = found.body["metadata"]
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": name or metadata["name"],
        "uid": metadata["uid"],
    }
    return reference | ({"blockOwnerDeletion": True} if blocks else {})


def dependents_go_in_the_background(talk: Talk) -> None:
    """The owner goes at once, what belongs to it alone after it, down the whole chain."""
    owner = talk.post("configmaps", configmap("owner"), quiet=True)
    child = talk.post("configmaps", configmap("child", ownerReferences=[_owner(owner)]), quiet=True)
    talk.post("configmaps", configmap("grandchild", ownerReferences=[_owner(child)]), quiet=True)
    talk.delete("configmaps/owner", propagationPolicy="Background", show=("status",))
    talk.get("configmaps/owner")
    talk.wait_gone("configmaps/child")
    talk.wait_gone("configmaps/grandchild")


def dependents_go_first_in_the_foreground(talk: Talk) -> None:
    """The owner waits for those that block it, and for no others."""
    owner = talk.post("configmaps", configmap("owner"), quiet=True)
    blocking = configmap("blocking", ownerReferences=[_owner(owner, blocks=True)], finalizers=[_HOLD])
    talk.post("configmaps", blocking, quiet=True)
    talk.post(
        "configmaps", configmap("other", ownerReferences=[_owner(owner)], finalizers=[_HOLD]), quiet=True
    )
    talk.delete("configmaps/owner", {"propagationPolicy": "Foreground"}, show=("kind", *_KEPT))
    for name in ("blocking", "other"):
        talk.wait(f"configmaps/{name}", lambda found: "deletionTimestamp" in found.body["metadata"])
    talk.get("configmaps/owner", show=_KEPT)
    talk.patch("configmaps/blocking", {"metadata": {"finalizers": None}}, quiet=True)
    talk.wait_gone("configmaps/owner")
    talk.get("configmaps/other", show=_KEPT)
    talk.patch("configmaps/other", {"metadata": {"finalizers": None}}, quiet=True)
    talk.wait_gone("configmaps/other")


def dependents_are_left_as_orphans(talk: Talk) -> None:
    owner = talk.post("configmaps", configmap("owner"), quiet=True)
    talk.post("configmaps", configmap("child", ownerReferences=[_owner(owner)]), quiet=True)
    talk.delete("configmaps/owner", propagationPolicy="Orphan", show=("kind",))
    talk.wait_gone("configmaps/owner")
    talk.get("configmaps/child", show=_KEPT)


def one_owner_of_several_goes(talk: Talk) -> None:
    """Who has another owner stays and forgets the one that went."""
    one = talk.post("configmaps", configmap("one"), quiet=True)
    two = talk.post("configmaps", configmap("two"), quiet=True)
    both = [_owner(one), _owner(two)]
    talk.post("configmaps", configmap("child", ownerReferences=both), quiet=True)
    talk.delete("configmaps/one", quiet=True)
    talk.wait("configmaps/child", lambda found: len(found.body["metadata"]["ownerReferences"]) == 1)
    talk.get("configmaps/child", show=_KEPT)
    talk.delete("configmaps/two", quiet=True)
    talk.wait_gone("configmaps/child")


def an_owner_that_never_was(talk: Talk) -> None:
    """Whose owner is absent goes, also when something of another uid has its name."""
    talk.post("configmaps", configmap("named"), quiet=True)
    absent = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "named",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    talk.post("configmaps", configmap("child", ownerReferences=[absent]), quiet=True)
    talk.wait_gone("configmaps/child")


def owners_that_cannot_be(talk: Talk) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}
    for wrong in (
        {"uid": ""},
        {"name": ""},
        {"kind": ""},
        {"apiVersion": ""},
        {"apiVersion": "v1", "kind": "Event"},
    ):
        talk.post("configmaps", configmap("a", ownerReferences=[owner | wrong]))
    two = [owner | {"controller": True}, owner | {"controller": True, "uid": "v"}]
    talk.post("configmaps", configmap("a", ownerReferences=two))


def a_namespace_takes_its_content_along(talk: Talk) -> None:
    talk.post("configmaps", configmap("a"), quiet=True)
    talk.post("secrets", {"metadata": {"name": "a"}}, quiet=True)
    path = f"/api/v1/namespaces/{talk.namespace}"
    talk.delete(path, show=("kind", "status.phase", "spec.finalizers"))
    talk.wait_gone(path)
    talk.get("configmaps/a")


def a_namespace_waits_for_finalizers(talk: Talk) -> None:
    """It says what holds it, takes nothing new, and goes when that has gone."""
    path = f"/api/v1/namespaces/{talk.namespace}"
    talk.post("configmaps", configmap("held", finalizers=[_HOLD]), quiet=True)
    talk.delete(path, quiet=True)
    talk.wait(path, lambda found: _says(found, "NamespaceFinalizersRemaining", "True"))
    talk.wait(path, lambda found: "has 1 resource instances" in str(found.body))
    talk.get(
        path,
        show=(
            "status.phase",
            "status.conditions.type",
            "status.conditions.status",
            "status.conditions.reason",
            "status.conditions.message",
        ),
    )
    talk.post("configmaps", configmap("new"))
    talk.apply("configmaps/new", configmap("new"))
    talk.post("/api/v1/namespaces", {"metadata": {"name": talk.namespace}})
    talk.delete(path, show=("kind", "metadata.deletionGracePeriodSeconds", "status.phase"))
    talk.patch("configmaps/held", {"data": {"k": "v"}}, show=("data",))
    talk.patch("configmaps/held", {"metadata": {"finalizers": None}}, quiet=True)
    talk.wait_gone(path)


def _says(found: Answer, kind: str, value: str) -> bool:
    conditions = found.body.get("status", {}).get("conditions", [])
    return any((c["type"], c["status"]) == (kind, value) for c in conditions)


def a_namespace_with_finalizers_of_its_own(talk: Talk) -> None:
    name = f"own-{talk.word}"
    path = f"/api/v1/namespaces/{name}"
    talk.post(
        "/api/v1/namespaces",
        {"metadata": {"name": name, "finalizers": [_HOLD]}},
        show=("metadata.finalizers", "metadata.labels", "spec", "status"),
    )
    talk.patch(path, {"spec": {"finalizers": []}}, show=("spec",))
    talk.patch(
        path, {"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}}, show=("metadata.labels",)
    )
    talk.delete(path, quiet=True)
    talk.wait(path, lambda found: "finalizers" not in found.body["spec"])
    talk.get(path, show=("metadata.finalizers", "spec", "status.phase"))
    talk.patch(path, {"metadata": {"finalizers": None}}, show=("metadata.finalizers",))
    talk.wait_gone(path)


def system_namespaces_stay(talk: Talk) -> None:
    for name in ("default", "kube-system", "kube-public"):
        talk.delete(f"/api/v1/namespaces/{name}")
