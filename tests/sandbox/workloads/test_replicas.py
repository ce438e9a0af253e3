"""ReplicaSets and Deployments: tables of what a real controller manager does, and that every history converges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.sandbox.workloads import replicas

Doc = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"


def deployment(image: str = "app:1", count: int = 4, **spec: Any) -> Doc:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "metadata": {"name": "a", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {"replicas": count, "selector": {"matchLabels": {"app": "a"}}, "template": template} | spec,
    }


def replicaset(owner: Doc, size: int, revision: int = 1, **status: int) -> Doc:
    made = replicas.build_replicaset(owner, replicas.hash_of(owner), size, revision)
    made["metadata"] |= {"uid": made["metadata"]["name"], "generation": 1}
    return made | {"status": {"replicas": size, **status}}


def pod(name: str, *, ready: bool = False, age: int = 0, going: bool = False, phase: str = "Running") -> Doc:
    metadata = {"name": name, "labels": {"app": "a"}, "creationTimestamp": f"2026-01-01T00:00:{59 - age:02}Z"}
    if going:
        metadata["deletionTimestamp"] = NOW
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {"metadata": metadata, "status": {"phase": phase, "conditions": [condition]}}


@pytest.mark.parametrize(
    ("size", "pods", "created", "deleted"),
    [
        (2, [], 2, ()),
        (2, [pod("a"), pod("b", going=True)], 1, ()),
        (1, [pod("a", phase="Failed"), pod("b", phase="Succeeded")], 1, ()),
        (1, [pod("a", ready=True), pod("b")], 0, ("b",)),
        (1, [pod("old", ready=True, age=5), pod("young", ready=True, age=1)], 0, ("young",)),
        (1, [pod("old", age=5), pod("young", ready=True, age=1)], 0, ("old",)),
        (0, [pod("a", ready=True), pod("b", age=3), pod("c", age=1)], 0, ("c", "b", "a")),
    ],
)
def test_replicaset_pods(size: int, pods: list[Doc], created: int, deleted: tuple[str, ...]) -> None:
    """Pods on their way out and those that are over count for nothing; unready and young ones go first."""
    step = replicas.decide_replicaset(replicaset(deployment(), size), pods)
    assert (len(step.create), step.delete) == (created, deleted)


def test_replicaset_status() -> None:
    """As a real controller writes it: terminating pods apart, zeros left out, labels compared."""
    owned = replicaset(deployment(), 4)
    mark = owned["spec"]["template"]["metadata"]["labels"]
    pods = [pod("a", ready=True), pod("b"), pod("c", going=True), pod("d", phase="Failed")]
    pods[0]["metadata"]["labels"] = mark
    assert replicas.decide_replicaset(owned, pods).status == {
        "replicas": 2,
        "terminatingReplicas": 1,
        "fullyLabeledReplicas": 1,
        "readyReplicas": 1,
        "availableReplicas": 1,
        "observedGeneration": 1,
    }
    empty = replicas.decide_replicaset(owned, [])
    assert empty.status == {"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1}
    owned["metadata"]["deletionTimestamp"] = NOW
    assert not replicas.decide_replicaset(owned, []).create


def test_a_refusal_is_a_condition_that_keeps_its_time() -> None:
    """`ReplicaFailure` comes with the refusal; the next good status has none."""
    first = replicas.add_failure({"replicas": 0}, {}, "no", NOW)
    assert first["conditions"][0]["reason"] == "FailedCreate"
    again = replicas.add_failure({"replicas": 0}, first, "still no", "2027-01-01T00:00:00Z")
    assert again["conditions"][0] | {"message": "no"} == first["conditions"][0]


OLD, NEW = deployment("app:1"), deployment("app:2")
RECREATE: Doc = {"strategy": {"type": "Recreate"}}


def sizes(owner: Doc, *sets: Doc) -> dict[str, int]:
    """What the step makes of the sizes; a new ReplicaSet is `new`."""
    step = replicas.decide_deployment(owner, sets, NOW)
    names = {replicas.build_replicaset(OLD, replicas.hash_of(OLD), 0, 1)["metadata"]["name"]: "old"}
    names |= {made["metadata"]["name"]: "new" for made in step.create}
    names |= {replicas.build_replicaset(NEW, replicas.hash_of(NEW), 0, 1)["metadata"]["name"]: "new"}
    created = dict.fromkeys(
        ("new",) if step.create else (), sum(made["spec"]["replicas"] for made in step.create)
    )
    return created | {names[name]: size for name, size in step.scale.items()}


def rolling(surge: int | str, unavailable: int | str, count: int = 4) -> Doc:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return deployment("app:2", count, strategy=strategy)


@pytest.mark.parametrize(
    ("owner", "sets", "wanted"),
    [
        (NEW, [], {"new": 4}),
        (NEW, [replicaset(OLD, 4, availableReplicas=4)], {"new": 0}),
        (NEW, [replicaset(OLD, 4, availableReplicas=4), replicaset(NEW, 0)], {"new": 1}),
        (NEW, [replicaset(OLD, 4, availableReplicas=4), replicaset(NEW, 1)], {"old": 3}),
        (NEW, [replicaset(OLD, 3, availableReplicas=3), replicaset(NEW, 1)], {"new": 2}),
        (NEW, [replicaset(OLD, 3, availableReplicas=3), replicaset(NEW, 2)], {}),
        (NEW, [replicaset(OLD, 3, availableReplicas=3), replicaset(NEW, 2, availableReplicas=1)], {"old": 2}),
        (NEW, [replicaset(OLD, 1, availableReplicas=1), replicaset(NEW, 4, availableReplicas=4)], {"old": 0}),
        (
            NEW,
            [replicaset(OLD, 4), replicaset(NEW, 1)],
            {"old": 3},
        ),  # broken ones go, no faster than good ones
        (NEW, [replicaset(NEW, 6, availableReplicas=6)], {"new": 4}),
        (NEW, [replicaset(NEW, 2, availableReplicas=2)], {"new": 4}),
        (rolling("100%", 0), [replicaset(OLD, 4, availableReplicas=4), replicaset(NEW, 0)], {"new": 4}),
        (rolling(0, 1), [replicaset(OLD, 4, availableReplicas=4), replicaset(NEW, 0)], {"old": 3}),
        (rolling(0, 0), [replicaset(OLD, 4, availableReplicas=4), replicaset(NEW, 0)], {"old": 3}),
        (rolling(1, 0), [replicaset(OLD, 4, availableReplicas=4), replicaset(NEW, 1)], {}),
        (deployment("app:2", **RECREATE), [replicaset(OLD, 4, availableReplicas=4)], {"old": 0}),
        (deployment("app:2", **RECREATE), [replicaset(OLD, 0, terminatingReplicas=1)], {}),
        (deployment("app:2", **RECREATE), [replicaset(OLD, 0)], {"new": 4}),
        (deployment("app:2", **RECREATE), [replicaset(OLD, 4), replicaset(NEW, 0)], {"old": 0}),
        (deployment("app:2", **RECREATE), [replicaset(OLD, 0), replicaset(NEW, 0)], {"new": 4}),
    ],
)
def test_next_sizes(owner: Doc, sets: list[Doc], wanted: dict[str, int]) -> None:
    """One move at a time, as `rolling.go` and `recreate.go` make it."""
    assert sizes(owner, *sets) == wanted


@pytest.mark.parametrize(
    ("count", "surge", "unavailable", "posts"),
    [
        (4, "25%", "25%", (1, 1)),
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (3, 0, "0%", (0, 1)),
        (3, "34%", 2, (2, 2)),
    ],
)
def test_percentages(count: int, surge: int | str, unavailable: int | str, posts: tuple[int, int]) -> None:
    """The surge is rounded up, what may be missing down; both zero would never move."""
    assert replicas.fenceposts(rolling(surge, unavailable, count)["spec"]) == posts


def test_broken_pods_of_any_replicaset_go_before_good_ones() -> None:
    """Three templates: the broken middle one makes room, the good first one stays available."""
    good, broken = replicaset(OLD, 3, availableReplicas=3), replicaset(deployment("app:bad"), 1, 2)
    step = replicas.decide_deployment(NEW, [good, broken, replicaset(NEW, 1, 3)], NOW)
    assert step.scale == {broken["metadata"]["name"]: 0}


def test_a_template_that_comes_back_gets_a_new_revision() -> None:
    """As after `kubectl rollout undo`: the old ReplicaSet is used again, under the next number."""
    was, now = replicaset(OLD, 0, 1), replicaset(NEW, 4, 2, availableReplicas=4)
    step = replicas.decide_deployment(OLD, [was, now], NOW)
    assert (step.revise, step.revision) == ({was["metadata"]["name"]: 3}, 3)
    assert not replicas.decide_deployment(NEW, [was, now], NOW).revise


def test_history_is_bounded() -> None:
    """The oldest empty ReplicaSets go; those with pods stay."""
    owner = deployment("app:9", revisionHistoryLimit=1)
    old = [replicaset(deployment(f"app:{n}"), 0, n) for n in (1, 2, 3)]
    busy = replicaset(deployment("app:0"), 0, 0, terminatingReplicas=1)
    step = replicas.decide_deployment(owner, [*old, busy, replicaset(owner, 4, 4)], NOW)
    assert step.delete == tuple(r["metadata"]["name"] for r in old[:2])


def shown(owner: Doc, *sets: Doc) -> Doc:
    return dict(replicas.decide_deployment(owner, sets, NOW).status)


def test_deployment_status() -> None:
    """The counts and conditions of a real controller manager at four moments of a rollout."""
    status = shown(NEW, replicaset(NEW, 4))
    said = {c["type"]: (c["status"], c["reason"]) for c in status.pop("conditions")}
    assert status == {
        "observedGeneration": 1,
        "replicas": 4,
        "updatedReplicas": 4,
        "unavailableReplicas": 4,
        "terminatingReplicas": 0,
    }
    assert said == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "ReplicaSetUpdated"),
    }
    status = shown(NEW, replicaset(OLD, 3, availableReplicas=3, readyReplicas=3), replicaset(NEW, 2))
    said = {c["type"]: (c["status"], c["reason"]) for c in status.pop("conditions")}
    assert status == {
        "observedGeneration": 1,
        "replicas": 5,
        "updatedReplicas": 2,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "unavailableReplicas": 2,
        "terminatingReplicas": 0,
    }
    assert said["Available"] == ("True", "MinimumReplicasAvailable")
    done = shown(NEW, replicaset(NEW, 4, availableReplicas=4, readyReplicas=4))
    assert done["conditions"][1]["reason"] == "NewReplicaSetAvailable"
    later = shown(NEW | {"status": done}, replicaset(NEW, 4, availableReplicas=3, readyReplicas=3))
    assert later["conditions"] == done["conditions"], "what was rolled out stays so"
    gone = shown(
        deployment("app:3", **RECREATE) | {"status": done}, replicaset(NEW, 0, terminatingReplicas=4)
    )
    assert gone["conditions"][1] == done["conditions"][1]
    assert gone["conditions"][0]["status"] == "False", "nothing may be missing when all are recreated"


def test_conditions_keep_their_times() -> None:
    """A condition that says the same keeps both times; a new reason keeps the transition."""
    first = shown(NEW, replicaset(NEW, 4))
    later = replicas.decide_deployment(
        NEW | {"status": first}, [replicaset(NEW, 4, availableReplicas=4)], "2027-01-01T00:00:00Z"
    ).status
    available, progressing = later["conditions"]
    assert available["lastTransitionTime"] == "2027-01-01T00:00:00Z"
    assert (progressing["lastTransitionTime"], progressing["lastUpdateTime"]) == (NOW, "2027-01-01T00:00:00Z")
    same = replicas.decide_deployment(NEW | {"status": first}, [replicaset(NEW, 4)], "2027-01-01T00:00:00Z")
    assert same.status == first


def test_a_refused_pod_shows_on_the_deployment() -> None:
    """The ReplicaSet's complaint is repeated above it."""
    refused = replicaset(NEW, 4)
    refused["status"] = replicas.add_failure({"replicas": 0}, {}, "forbidden", NOW)
    failure = shown(NEW, refused)["conditions"][2]
    assert (failure["type"], failure["reason"], failure["message"]) == (
        "ReplicaFailure",
        "FailedCreate",
        "forbidden",
    )


class Simulation:
    """A cluster whose controllers and pods take their turns in any order."""

    def __init__(self, owner: Doc) -> None:
        self.owner = owner
        self.sets: dict[str, Doc] = {}
        self.pods: dict[str, tuple[str, Doc]] = {}
        self.born = 0

    def deploy(self) -> bool:
        """The Deployment controller's turn; whether it did anything."""
        step = replicas.decide_deployment(self.owner, list(self.sets.values()), NOW)
        for made in step.create:
            made["metadata"]["uid"] = made["metadata"]["name"]
            self.sets[made["metadata"]["name"]] = made | {"status": {"replicas": 0}}
        for name, size in step.scale.items():
            self.sets[name] = self.sets[name] | {"spec": self.sets[name]["spec"] | {"replicas": size}}
        for name in step.delete:
            del self.sets[name]
        for name, revision in step.revise.items():
            metadata = self.sets[name]["metadata"] | {"annotations": {replicas.REVISION: str(revision)}}
            self.sets[name] = self.sets[name] | {"metadata": metadata}
        return bool(step.create or step.scale or step.delete or step.revise)

    def replicate(self, name: str) -> bool:
        """A ReplicaSet's turn."""
        own = [p for owner, p in self.pods.values() if owner == name]
        step = replicas.decide_replicaset(self.sets[name], own)
        for _ in step.create:
            self.born += 1
            self.pods[f"p{self.born}"] = (name, pod(f"p{self.born}"))
        for gone in step.delete:
            del self.pods[gone]
        changed = bool(step.create or step.delete or step.status != self.sets[name].get("status"))
        self.sets[name] = self.sets[name] | {"status": dict(step.status)}
        return changed

    def become_ready(self, pick: int) -> bool:
        waiting = [n for n, (_, p) in self.pods.items() if p["status"]["conditions"][0]["status"] == "False"]
        if not waiting:
            return False
        name = waiting[pick % len(waiting)]
        self.pods[name] = (self.pods[name][0], pod(name, ready=True))
        return True

    def settle(self) -> None:
        for _ in range(500):
            busy = [self.deploy(), *map(self.replicate, list(self.sets)), self.become_ready(0)]
            if not any(busy):
                return
        raise AssertionError("it never comes to rest")

    @property
    def wished(self) -> int:
        """What the ReplicaSets add up to: the real controller counts these too."""
        return sum(s["spec"]["replicas"] for s in self.sets.values())

    @property
    def ready(self) -> int:
        return sum(p["status"]["conditions"][0]["status"] == "True" for _, p in self.pods.values())


amounts = st.one_of(st.integers(0, 4), st.integers(0, 100).map(lambda n: f"{n}%"))


@given(
    count=st.integers(1, 8),
    surge=amounts,
    unavailable=amounts,
    images=st.lists(st.sampled_from(["app:1", "app:2", "app:3"]), min_size=1, max_size=3),
    turns=st.lists(st.integers(0, 1000), max_size=60),
    recreate=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_every_update_converges_and_keeps_enough_pods(
    count: int, surge: int | str, unavailable: int | str, images: list[str], turns: list[int], recreate: bool
) -> None:
    """From a full Deployment on, whatever the order: never fewer ready pods than allowed, never more pods wished than
    the surge allows (those of before may still be ending), and in the end `replicas` ready pods of the last template."""
    owner = rolling(surge, unavailable, count)
    if recreate:
        owner["spec"]["strategy"] = RECREATE["strategy"]
    world = Simulation(owner)
    world.settle()
    above, below = replicas.fenceposts(owner["spec"])
    rest = iter(turns)
    for image in images:
        owner["spec"]["template"] = deployment(image)["spec"]["template"]
        for turn in [t for t, _ in zip(rest, range(20), strict=False)]:
            names = list(world.sets)
            match turn % (len(names) + 2):
                case 0:
                    world.deploy()
                case 1:
                    world.become_ready(turn)
                case n:
                    world.replicate(names[n - 2])
            if not recreate:
                assert world.ready >= count - below
                assert world.wished <= count + above
    world.settle()
    mark = replicas.hash_of(owner)
    assert world.ready == len(world.pods) == count
    assert {name.rpartition("-")[2] for name, _ in world.pods.values()} == {mark}
    assert (
        replicas.decide_deployment(owner, list(world.sets.values()), NOW).status["updatedReplicas"] == count
    )
