"""What a server keeps with an object: versions, generations, owners of fields, finalizers; and its subresources."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Doc, Talk
from tests.contract.kubernetes.talks.documents import account, configmap, pod, service, workload

_META = ("metadata",)
_OWNED = ("metadata", "data")
_KEPT = ("metadata.finalizers", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds")


def system_metadata_is_the_servers(talk: Talk) -> None:
    """What a client writes into it does not count, on create as on update."""
    mine: Doc = {
        "uid": "00000000-0000-0000-0000-000000000000",
        "creationTimestamp": "2000-01-01T00:00:00Z",
        "deletionTimestamp": "2000-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 7,
        "selfLink": "/nowhere",
    }
    first = talk.post("configmaps", configmap("a", **mine))
    assert first.uid != mine["uid"]
    later = mine | {"uid": first.uid, "deletionTimestamp": None, "deletionGracePeriodSeconds": None}
    again = talk.put("configmaps/a", configmap("a", **later, labels={"a": "b"}))
    assert again.body["metadata"]["creationTimestamp"] == first.body["metadata"]["creationTimestamp"]
    patch = {"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z", "generation": 9}}
    assert talk.patch("configmaps/a", patch).version == again.version
    assert talk.patch("configmaps/a", {"metadata": {"creationTimestamp": None}}).version == again.version


def a_write_without_a_change_keeps_the_version(talk: Talk) -> None:
    doc = configmap("a", data={"k": "v"}, labels={"l": "v"})
    version = talk.post("configmaps", doc).version
    assert talk.put("configmaps/a", doc).version == version
    assert talk.patch("configmaps/a", {"data": {"k": "v"}}).version == version
    assert talk.patch("configmaps/a", {"data": {"none": None}}, "strategic").version == version
    assert talk.patch("configmaps/a", [], "json").version == version
    applied = talk.apply("configmaps/a", doc).version
    assert applied != version
    assert talk.apply("configmaps/a", doc).version == applied
    assert talk.put("configmaps/a", doc).version == applied
    assert talk.put("configmaps/a", doc, fieldManager="another").version == applied


def generations_count_changes_of_the_spec(talk: Talk) -> None:
    """Only kinds with a desired state have one; labels and status do not count."""
    talk.post("configmaps", configmap("a"), show=("metadata.generation",))
    talk.post("services", service("a"), show=("metadata.generation",))
    talk.post("secrets", {"metadata": {"name": "a"}}, show=("metadata.generation",))
    talk.post("serviceaccounts", account("runner"), show=("metadata.generation",))
    budget = {
        "metadata": {"name": "a"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}},
    }
    talk.post("policy/v1/poddisruptionbudgets", budget, show=("metadata.generation",))
    rule = {"metadata": {"name": "a"}, "spec": {"podSelector": {}}}
    talk.post("networking.k8s.io/v1/networkpolicies", rule, show=("metadata.generation",))
    talk.patch(
        "networking.k8s.io/v1/networkpolicies/a", {"spec": {"policyTypes": []}}, show=("metadata.generation",)
    )
    talk.post("pods", pod("a"), show=("metadata.generation", "status"))
    talk.patch("pods/a", {"metadata": {"labels": {"a": "b"}}}, show=("metadata.generation",))
    talk.post("apps/v1/deployments", workload("Deployment", "a"), show=("metadata.generation",))
    talk.patch("apps/v1/deployments/a", {"metadata": {"labels": {"a": "b"}}}, show=("metadata.generation",))
    talk.patch("apps/v1/deployments/a", {"spec": {"minReadySeconds": 1}}, show=("metadata.generation",))
    talk.post(
        "coordination.k8s.io/v1/leases",
        {"metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}},
        show=_META,
    )
    slices = {"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": []}
    talk.post("discovery.k8s.io/v1/endpointslices", slices, show=("metadata.generation",))
    talk.patch(
        "discovery.k8s.io/v1/endpointslices/a",
        {"endpoints": [{"addresses": ["10.0.0.1"]}]},
        show=("metadata.generation",),
    )


def owners_of_fields(talk: Talk) -> None:
    """`managedFields` of create, update, patch and apply, by manager and operation."""
    talk.post("configmaps", configmap("a", data={"k": "1"}), fieldManager="first", show=_OWNED)
    talk.put("configmaps/a", configmap("a", data={"k": "1", "l": "2"}), fieldManager="second", show=_OWNED)
    talk.patch("configmaps/a", {"data": {"k": "3"}}, fieldManager="third", show=_OWNED)
    talk.apply("configmaps/a", configmap("a", data={"m": "4"}), "fourth", show=_OWNED)
    talk.patch("configmaps/a", {"data": {"l": None}}, fieldManager="first", show=_OWNED)
    talk.put(
        "configmaps/a", configmap("a", data={"m": "4"}, managedFields=[{}]), fieldManager="first", show=_OWNED
    )
    talk.post("configmaps", configmap("b"), fieldManager="x" * 129)
    talk.post("configmaps", configmap("b"), fieldManager="tab\t")
    talk.post("services", service("a"), fieldManager="first", show=("metadata.managedFields",))
    talk.patch("services/a", {"spec": {"type": "LoadBalancer"}}, fieldManager="first", show=("spec.type",))
    talk.patch(
        "services/a/status",
        {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
        fieldManager="second",
        show=("metadata.managedFields",),
    )
    agent = talk.post(
        "configmaps",
        configmap("agent", data={"k": "v"}),
        headers={"User-Agent": "kubectl/v1.36 (linux)"},
        show=_OWNED,
    )
    assert agent.body["metadata"]["managedFields"][0]["manager"] == "kubectl"


def a_user_agent_without_a_slash(talk: Talk) -> None:
    talk.post(
        "configmaps", configmap("a", data={"k": "v"}), headers={"User-Agent": "plain words"}, show=_META
    )


def generated_names(talk: Talk) -> None:
    """Five letters after the prefix, which is cut so that 63 are not passed."""
    for prefix, length in (("short-", 11), ("x" * 80, 63)):
        made = talk.post(
            "configmaps", {"metadata": {"generateName": prefix}}, show=("metadata.generateName",)
        )
        name = made.body["metadata"]["name"]
        assert len(name) == length
        assert name.startswith(prefix[:58])
    talk.post(
        "configmaps",
        {"metadata": {"generateName": "Wrong_"}},
        dryRun="All",
        show=("metadata.generateName",),
        quiet=True,
    )
    both = {"metadata": {"generateName": "prefix-", "name": "a"}}
    talk.post("configmaps", both, show=("metadata.generateName", "metadata.name"))


def finalizers(talk: Talk) -> None:
    """A deletion waits for them; while it does none is added, and the last to go takes the object along."""
    talk.post("configmaps", configmap("a", finalizers=["example.com/one", "example.com/two"]), show=_META)
    talk.delete("configmaps/a", show=_META)
    version = talk.delete("configmaps/a", show=_META).version
    assert talk.get("configmaps/a", show=_META).version == version
    talk.patch(
        "configmaps/a",
        {"metadata": {"finalizers": ["example.com/one", "example.com/two", "example.com/three"]}},
    )
    talk.patch("configmaps/a", {"metadata": {"labels": {"a": "b"}}}, show=_META)
    talk.patch("configmaps/a", {"metadata": {"finalizers": ["example.com/two"]}}, show=_META)
    talk.put(
        "configmaps/a", configmap("a", deletionTimestamp=None, finalizers=["example.com/two"]), show=_META
    )
    talk.patch(
        "configmaps/a",
        {"metadata": {"finalizers": None}},
        show=("metadata.deletionTimestamp", "metadata.labels"),
    )
    talk.get("configmaps/a")
    talk.post("configmaps", configmap("b", finalizers=["unqualified"]))
    talk.post("configmaps", configmap("b", finalizers=["example.com/Not A Name"]))
    talk.post("services", service("a") | {"metadata": {"name": "a", "finalizers": ["unqualified"]}})


def grace_of_pods(talk: Talk) -> None:
    """A pod that no node has goes at once; one that a node has gets its time, which only shrinks."""
    talk.post("serviceaccounts", account("runner"), quiet=True)
    talk.post("pods", pod("a"), quiet=True)
    talk.delete("pods/a", show=("kind", "metadata"))
    talk.get("pods/a")
    talk.post("pods", pod("b"), quiet=True)
    bound = {"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "nowhere"}}
    talk.post("pods/b/binding", bound)
    talk.get("pods/b", show=("spec.nodeName", "metadata.generation"))
    talk.post("pods/b/binding", bound)
    talk.delete("pods/b", {"gracePeriodSeconds": 40}, show=_KEPT)
    talk.delete("pods/b", {"gracePeriodSeconds": 50}, show=_KEPT)
    talk.delete("pods/b", {"gracePeriodSeconds": 20}, show=_KEPT)
    talk.delete("pods/b", gracePeriodSeconds="0", show=("metadata.name", *_KEPT))
    talk.get("pods/b")


def statuses(talk: Talk) -> None:
    """The status endpoint leaves the spec alone, the object's own leaves the status alone."""
    doc = workload("StatefulSet", "a")
    made = talk.post(
        "apps/v1/statefulsets",
        doc | {"status": {"replicas": 7}},
        show=("status.replicas", "metadata.generation"),
    )
    assert made.body["status"]["replicas"] == 0
    path = "services/a"
    talk.post(
        "services",
        service("a") | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}},
        show=("spec", "status"),
    )
    ingress = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    change = {
        "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
        "spec": {"selector": {"a": "b"}},
        "status": ingress,
    }
    talk.patch(path, {"spec": {"type": "LoadBalancer"}}, show=("spec.type",))
    talk.patch(
        f"{path}/status", change, show=("metadata.labels", "metadata.annotations", "spec.selector", "status")
    )
    talk.patch(
        path, change | {"status": {"loadBalancer": None}}, show=("metadata.labels", "spec.selector", "status")
    )
    talk.get(f"{path}/status", show=("kind", "spec.selector", "status"))
    talk.put(f"{path}/status", service("a"), show=("spec.selector", "status", "metadata.labels"))
    talk.put(f"{path}/status", service("other"))
    talk.apply(
        f"{path}/status",
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "status": ingress},
        show=("status", "metadata.managedFields"),
    )


def scales(talk: Talk) -> None:
    """Reading and writing the number of replicas through `scale`."""
    for kind, plural in (("StatefulSet", "statefulsets"), ("Deployment", "deployments")):
        path = f"apps/v1/{plural}/{plural[:3]}"
        spec = workload(kind, plural[:3])
        spec["spec"]["paused"] = True
        if kind == "StatefulSet":
            del spec["spec"]["paused"]
        made = talk.post(f"apps/v1/{plural}", spec, quiet=True)
        assert made.code == 201
        talk.wait(
            path,
            lambda found: (
                found.body.get("status", {}).get("observedGeneration") == 1 or talk.api.name == "sandbox"
            ),
        )
        scale = talk.get(f"{path}/scale")
        talk.put(f"{path}/scale", scale.body | {"spec": {"replicas": 0}}, show=("kind", "spec", "status"))
        talk.patch(f"{path}/scale", {"spec": {"replicas": -1}})
        talk.patch(f"{path}/scale", {"spec": {"replicas": "text"}})
        wrong = scale.body | {
            "metadata": scale.body["metadata"] | {"resourceVersion": "1"},
            "spec": {"replicas": 3},
        }
        talk.put(f"{path}/scale", wrong)
        talk.put(f"{path}/scale", {"metadata": {"name": "other"}, "spec": {"replicas": 1}})
        talk.put(f"{path}/scale", scale.body | {"kind": "Nothing"})
        dry = talk.patch(
            f"{path}/scale",
            {"spec": {"replicas": 2}},
            dryRun="All",
            show=("kind", "apiVersion", "metadata.name", "spec"),
        )
        assert dry.body["spec"]["replicas"] == 2
    talk.get("services/a/scale")


def evictions(talk: Talk) -> None:
    talk.post("serviceaccounts", account("runner"), quiet=True)
    talk.post("pods", pod("a"), quiet=True)
    evict = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    talk.post("pods/a/eviction", evict | {"metadata": {"name": "other"}})
    talk.post("pods/a/eviction", evict | {"kind": "Nothing"})
    talk.post("pods/a/eviction", evict, dryRun="All")
    talk.get("pods/a", show=("metadata.name",))
    talk.post("pods/a/eviction", evict)
    talk.get("pods/a")


def a_budget_refuses_evictions(talk: Talk) -> None:
    """429 while a budget does not know or does not allow."""
    talk.post("serviceaccounts", account("runner"), quiet=True)
    talk.post("pods", pod("a", labels={"app": "a"}), quiet=True)
    status = [{"op": "add", "path": "/status/phase", "value": "Running"}]
    talk.patch("pods/a/status", status, "json", show=("status.phase",))
    budget = {
        "metadata": {"name": "a"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    }
    talk.post("policy/v1/poddisruptionbudgets", budget, show=("spec",))
    if talk.api.name == "real":  # its controller takes its time
        talk.wait(
            "policy/v1/poddisruptionbudgets/a",
            lambda found: found.body.get("status", {}).get("expectedPods") == 1,
        )
    evict = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    talk.post("pods/a/eviction", evict)
    talk.get("pods/a", show=("metadata.name",))


def secrets_and_strings(talk: Talk) -> None:
    """`stringData` is a way to write; `type` and an immutable one's data stay."""
    talk.post(
        "secrets", {"metadata": {"name": "a"}, "stringData": {"k": "v"}}, show=("data", "stringData", "type")
    )
    talk.patch("secrets/a", {"stringData": {"k": "w", "l": "x"}}, show=("data", "stringData"))
    talk.patch("secrets/a", {"type": "other"})
    talk.patch("secrets/a", {"data": {"k": "no base64!"}})
    talk.patch("secrets/a", {"immutable": True}, show=("immutable",))
    talk.patch("secrets/a", {"data": {"k": "eA=="}})
    talk.patch("secrets/a", {"immutable": False})
    talk.post("secrets", {"metadata": {"name": "b"}, "data": {"bad key": "eA=="}})
    talk.post("configmaps", configmap("b", data={"bad key": "x"}))
    talk.post("configmaps", configmap("b", data={"k": "x"}) | {"binaryData": {"k": "eA=="}})
