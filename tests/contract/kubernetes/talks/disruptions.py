"""What an operator reads about a cluster's networks, and budgets of disruptions."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Doc, Talk

_BUDGETS = "policy/v1/poddisruptionbudgets"
_RANGES = "/apis/networking.k8s.io/v1/servicecidrs"


def _budget(**spec: object) -> Doc:
    return {"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, **spec}}


def a_budget_is_written(talk: Talk) -> None:
    """Its status is the controller's; a writer's does not count."""
    talk.post(_BUDGETS, _budget(minAvailable=1, maxUnavailable=1))
    talk.post(_BUDGETS, _budget(minAvailable=-1))
    talk.post(_BUDGETS, _budget(minAvailable="x"))
    talk.post(_BUDGETS, _budget(maxUnavailable="101%"))
    talk.post(_BUDGETS, _budget(maxUnavailable=1, unhealthyPodEvictionPolicy="Never"))
    talk.post(
        _BUDGETS,
        _budget(maxUnavailable=1) | {"status": {"currentHealthy": 9}},
        show=("spec", "metadata.generation"),
    )
    talk.patch(f"{_BUDGETS}/a", {"spec": {"maxUnavailable": 2}}, show=("spec", "metadata.generation"))
    talk.patch(f"{_BUDGETS}/a", {"spec": {"maxUnavailable": None, "minAvailable": "50%"}}, show=("spec",))


def the_range_of_services(talk: Talk) -> None:
    """One is there from the start; its ranges do not change."""
    known = ("finalizers", "conditions")  # two controllers write them
    found = talk.wait(f"{_RANGES}/kubernetes", lambda a: all(word in str(a.body) for word in known)).body
    found["metadata"].pop("managedFields", None)
    talk.note(range=found)
    talk.patch(f"{_RANGES}/kubernetes", {"spec": {"cidrs": ["127.97.0.0/16"]}})
    talk.get(f"{_RANGES}/none")
    wrong = {"metadata": {"name": talk.word}, "spec": {"cidrs": ["127.97.0.1/16"]}}
    talk.post(_RANGES, wrong)
    talk.post(_RANGES, wrong | {"spec": {"cidrs": []}})
    talk.post(_RANGES, wrong | {"spec": {"cidrs": ["127.97.0.0/16", "127.98.0.0/16"]}})


def the_ranges_of_a_node(talk: Talk) -> None:
    """Given once, by whoever has the ranges."""
    path = f"/api/v1/nodes/{talk.word}"
    talk.post(
        "/api/v1/nodes",
        {"metadata": {"name": talk.word}, "spec": {"podCIDR": "10.244.1.0/24"}},
        show=("spec.podCIDR", "spec.podCIDRs"),
    )
    talk.patch(path, {"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}})
    rows = [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n"}]
    talk.patch(f"{path}/status", {"status": {"addresses": rows}}, "strategic", show=("status.addresses",))
    talk.delete(path, quiet=True)
    talk.post(
        "/api/v1/nodes",
        {"metadata": {"name": talk.word}, "spec": {"podCIDRs": ["10.244.1.0/24", "10.245.0.0/24"]}},
    )
    talk.post("/api/v1/nodes", {"metadata": {"name": talk.word}, "spec": {"podCIDR": "10.244.1.0/33"}})
