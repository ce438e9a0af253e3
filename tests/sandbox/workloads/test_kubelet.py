"""The node: pods start when what they need is there, restart as they should, and leave nothing behind."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.workloads import backends, containerboot, podfiles
from tailrace.sandbox.world import World
from tests.sandbox.workloads.living import (
    NS,
    PODS,
    SECRETS,
    find,
    give_rights,
    living,
    pod,
    proxy,
    ready,
    reason,
    secret,
    state,
    told,
    until,
)

pytestmark = pytest.mark.anyio


def conditions(world: World, name: str) -> dict[str, str]:
    found = find(world, "pods", name)
    return {c["type"]: c["status"] for c in found["status"]["conditions"]} if found else {}


def remove(world: World, name: str, **removal: Any) -> None:
    world.cluster.delete(PODS, name, namespace=NS, removal=Removal(**removal))


async def test_a_pod_without_more_runs_and_answers(world: World) -> None:
    """Placed, ready, with an address that answers with the pod's name."""
    world.apply([pod("web")])
    await until(lambda: ready(world, "web"))
    found = find(world, "pods", "web")
    assert found is not None
    assert found["spec"]["nodeName"] == "sandbox"
    assert found["status"]["phase"] == "Running"
    status, body = await world.fetch(found["status"]["podIP"])
    assert (status, body.splitlines()[0]) == (200, b"pod: web")


async def test_a_missing_volume_is_told_and_waited_for(world: World) -> None:
    """Also one that no container shows: the kubelet mounts it all the same."""
    world.apply([pod("web", volumes=[{"name": "conf", "secret": {"secretName": "late"}}])])
    await until(lambda: told(world, "FailedMount"))
    assert told(world, "FailedMount") == [
        'MountVolume.SetUp failed for volume "conf" : secret "late" not found'
    ]
    assert reason(world, "web") == "ContainerCreating"
    assert conditions(world, "web")["PodReadyToStartContainers"] == "False"
    assert "podIP" not in (find(world, "pods", "web") or {})["status"]
    world.apply([secret("late", a="b")])
    await until(lambda: ready(world, "web"))


async def test_a_missing_variable_is_told_and_waited_for(world: World) -> None:
    """The pod has its address already, and starts when the Secret and then its key are there."""
    variable = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "a"}}}
    world.apply([pod("web", {"name": "app", "image": "app:1", "env": [variable]})])
    await until(lambda: reason(world, "web") == "CreateContainerConfigError")
    assert state(world, "web")["state"]["waiting"]["message"] == 'secret "late" not found'
    assert told(world, "Failed") == ['Error: secret "late" not found']
    world.apply([secret("late", b="x")])
    await until(lambda: "couldn't find key a in Secret default/late" in str(state(world, "web")))
    world.apply([secret("late", a="x")])
    await until(lambda: ready(world, "web"))


async def test_a_mounted_secret_shows_late_unless_the_pod_is_annotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet looks after its lag, or at once when an annotation of the pod changes."""
    seen: list[str] = []
    monkeypatch.setattr(containerboot.Proxy, "files_changed", lambda _: seen.append("looked"))
    async with living(tmp_path, pace=1.0) as world:
        give_rights(world)
        mounts = [{"name": "conf", "mountPath": "/conf"}]
        volumes = [{"name": "conf", "secret": {"secretName": "conf"}}]
        world.apply([secret("conf", a="1"), pod("dev", proxy(volumeMounts=mounts), volumes=volumes)])
        await until(lambda: ready(world, "dev"))
        world.apply([secret("conf", a="2")])
        await asyncio.sleep(0)
        assert not seen
        (run,) = world.kubelet._runs.values()
        assert run.files_of("proxy") == {"/conf/a": b"1"}
        world.cluster.patch(PODS, "dev", {"metadata": {"annotations": {"x": "1"}}}, "merge", namespace=NS)
        assert (seen, run.files_of("proxy")) == (["looked"], {"/conf/a": b"2"})
    async with living(tmp_path, pace=0.001) as world:
        give_rights(world)
        world.apply([secret("conf", a="1"), pod("dev", proxy(volumeMounts=mounts), volumes=volumes)])
        await until(lambda: ready(world, "dev"))
        world.apply([secret("conf", a="2")])
        await until(lambda: len(seen) == 2)
        world.cluster.delete(SECRETS, "conf", namespace=NS)
        (run,) = world.kubelet._runs.values()
        run.changed(run.doc | {"metadata": run.doc["metadata"] | {"annotations": {"y": "1"}}})
        assert run.files_of("proxy") == {"/conf/a": b"2"}, "what was mounted stays when its source goes"


async def test_a_proxy_that_crashes_backs_off_and_comes_back(world: World) -> None:
    """CrashLoopBackOff with the kubelet's words; once it stops crashing it is ready again."""
    world.apply([pod("dev", proxy())])  # without rights to its Secret
    await until(lambda: reason(world, "dev") == "CrashLoopBackOff")
    text = state(world, "dev")["state"]["waiting"]["message"]
    uid = (find(world, "pods", "dev") or {})["metadata"]["uid"]
    assert text == f"back-off 10s restarting failed container=proxy pod=dev_default({uid})"
    assert told(world, "BackOff") == [f"Back-off restarting failed container proxy in pod dev_default({uid})"]
    assert state(world, "dev")["lastState"]["terminated"]["exitCode"] == 1
    assert state(world, "dev")["restartCount"] == 1
    assert (find(world, "pods", "dev") or {})["status"]["phase"] == "Running"
    await until(lambda: "back-off 20s" in str(state(world, "dev")))
    give_rights(world)
    await until(lambda: ready(world, "dev"))
    assert state(world, "dev")["restartCount"] >= 2
    assert "boot: proxy" in (world.kubelet.read_log(NS, "dev", "proxy", None) or "")


async def test_a_killed_pod_starts_again_at_once_with_the_same_device(world: World) -> None:
    """SIGKILL as a fault: exit code 137, one restart, no second device."""
    give_rights(world)
    world.apply([pod("dev", proxy())])
    await until(lambda: ready(world, "dev"))
    (before,) = [node.id for node in world.plane.tailnet.nodes.all()]
    await world.kubelet.crash(NS, "dev")
    await until(lambda: state(world, "dev").get("restartCount") == 1 and ready(world, "dev"))
    assert state(world, "dev")["lastState"]["terminated"]["exitCode"] == 137
    assert [node.id for node in world.plane.tailnet.nodes.all()] == [before]
    with pytest.raises(ValueError, match="no pod nobody runs in namespace default"):
        await world.kubelet.crash(NS, "nobody")


def restarted(world: World, times: int) -> bool:
    return bool(state(world, "dev")["restartCount"] == times)


async def test_a_long_run_forgives_earlier_crashes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the reset time the next restart is at once, as the first was."""
    monkeypatch.setattr("tailrace.sandbox.workloads.containers.BACKOFF_RESET", 0.0)
    give_rights(world)
    world.apply([pod("dev", proxy())])
    for times in (1, 2, 3):
        await until(lambda: ready(world, "dev"))
        await world.kubelet.crash(NS, "dev")
        await until(partial(restarted, world, times))
    assert not told(world, "BackOff")


async def test_readiness_follows_health(world: World) -> None:
    """A device that loses its forwarding is no longer ready after the threshold, and comes back."""
    give_rights(world)
    world.apply([pod("dev", proxy())])
    await until(lambda: ready(world, "dev"))
    (run,) = world.kubelet._runs.values()
    inside = run._containers["proxy"]._program._container  # type: ignore[union-attr]
    inside.healthy = False
    await until(lambda: not ready(world, "dev"))
    assert conditions(world, "dev")["ContainersReady"] == "False"
    inside.healthy = True
    await until(lambda: ready(world, "dev"))


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 1, "Failed"), ("Never", 0, "Succeeded"), ("OnFailure", 0, "Succeeded")],
)
async def test_restart_policies(
    world: World, monkeypatch: pytest.MonkeyPatch, policy: str, code: int, phase: str
) -> None:
    """A container that shall not be started again ends its pod, which stays until it is deleted."""

    async def run(_: object) -> None:
        if code:
            raise containerboot.Crash("no")

    monkeypatch.setattr(containerboot.Proxy, "run", run)
    world.apply([pod("dev", proxy(), restartPolicy=policy)])
    found = await until(lambda: (d := find(world, "pods", "dev")) and d["status"].get("phase") == phase and d)
    assert state(world, "dev")["state"]["terminated"]["exitCode"] == code
    assert state(world, "dev")["restartCount"] == 0
    because = {c["type"]: c.get("reason") for c in found["status"]["conditions"]}
    assert because["Ready"] == ("PodFailed" if code else "PodCompleted")
    remove(world, "dev")
    await until(lambda: find(world, "pods", "dev") is None)


async def test_on_failure_starts_again_what_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice it fails, then it is done."""
    ends = iter((1, 1, 0))

    async def run(_: object) -> None:
        if next(ends):
            raise containerboot.Crash("no")

    monkeypatch.setattr(containerboot.Proxy, "run", run)
    world.apply([pod("job", proxy(), restartPolicy="OnFailure")])
    await until(lambda: (find(world, "pods", "job") or {})["status"].get("phase") == "Succeeded")
    assert state(world, "job")["restartCount"] == 2


async def test_initial_containers_are_done_and_sidecars_run(world: World) -> None:
    """What runs before the others ends well; one that is restarted runs beside them."""
    give_rights(world)
    first = [{"name": "sysctl", "image": "tailscale/tailscale:v1"}, proxy("side", restartPolicy="Always")]
    world.apply([pod("dev", initContainers=first)])
    await until(lambda: len(world.plane.tailnet.nodes.all()) == 1 and ready(world, "dev"))
    done, side = (find(world, "pods", "dev") or {})["status"]["initContainerStatuses"]
    assert done["state"]["terminated"]["reason"] == "Completed"
    assert "running" in side["state"]


async def test_app_and_sidecar_share_a_pod(world: World) -> None:
    """The app answers, the proxy is a device, each has its own log; the pod is ready when both are."""
    give_rights(world)
    app = {"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}
    world.apply([pod("both", app, proxy(ports=[{"containerPort": 9002}]))])
    await until(lambda: ready(world, "both"))
    found = find(world, "pods", "both")
    assert found is not None
    assert (await world.fetch(found["status"]["podIP"], 8080))[0] == 200
    assert (await world.fetch(found["status"]["podIP"], 9002, "/healthz"))[0] == 200
    assert world.kubelet.read_log(NS, "both", "app", None) == ""
    assert "Startup complete" in (world.kubelet.read_log(NS, "both", "proxy", None) or "")
    assert (world.kubelet.read_log(NS, "both", "proxy", 1) or "").count("\n") == 1
    assert world.kubelet.read_log(NS, "both", "proxy", 0) == ""
    assert world.kubelet.read_log(NS, "both", "nobody", None) is None


@pytest.mark.parametrize("removal", [{}, {"grace": 0}], ids=["graceful", "forced"])
async def test_deletion_ends_everything(world: World, removal: dict[str, int]) -> None:
    """Doors close, the pod goes, and the node knows nothing of it any more."""
    give_rights(world)
    app = {"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}
    volumes = [{"name": "conf", "secret": {"secretName": "state"}}]
    world.apply([pod("both", app, proxy(), volumes=volumes)])
    await until(lambda: ready(world, "both"))
    ip = (find(world, "pods", "both") or {})["status"]["podIP"]
    assert world.network.listening(ip)
    remove(world, "both", **removal)
    await until(lambda: find(world, "pods", "both") is None and not world.kubelet._runs)
    assert not world.network.listening(ip)
    assert not world.kubelet._by_key
    assert not world.kubelet._mounting
    with pytest.raises(ConnectionRefusedError):
        await world.dial(ip, 8080)


async def test_a_pod_that_waits_can_be_deleted(world: World) -> None:
    """Neither a missing volume nor a back-off holds up its end."""
    world.apply([pod("a", volumes=[{"name": "v", "configMap": {"name": "no"}}]), pod("b", proxy())])
    await until(lambda: told(world, "FailedMount") and reason(world, "b") == "CrashLoopBackOff")
    remove(world, "a")
    remove(world, "b")
    await until(lambda: not world.kubelet._runs)
    assert not world.cluster.store.all(("", "pods"))


@pytest.mark.parametrize("where", ["program", "pod"])
async def test_a_broken_simulation_stays_in_its_pod(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """An error of the sandbox itself marks the container as failed; other pods live, and it can be deleted."""
    world.apply([pod("good")])
    await until(lambda: ready(world, "good"))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of the sandbox")

    target = (backends, "open_backend") if where == "program" else (podfiles, "build_files")
    with monkeypatch.context() as patch:
        patch.setattr(*target, broken)
        world.apply([pod("bad", volumes=[{"name": "v", "emptyDir": {}}])])
        await until(
            lambda: "70" in str(state(world, "bad").get("lastState")) + str(state(world, "bad").get("state"))
        )
    assert ready(world, "good")
    remove(world, "bad")
    await until(lambda: find(world, "pods", "bad") is None)
    world.apply([pod("later")])
    await until(lambda: ready(world, "later"))


async def test_a_pod_that_comes_back_under_its_name_is_another(world: World) -> None:
    """The old one's end takes nothing from the new one."""
    world.apply([pod("web")])
    await until(lambda: ready(world, "web"))
    before = (find(world, "pods", "web") or {})["status"]["podIP"]
    remove(world, "web", grace=0)
    world.apply([pod("web")])
    await until(lambda: ready(world, "web") and len(world.kubelet._runs) == 1)
    after = (find(world, "pods", "web") or {})["status"]["podIP"]
    assert before != after
    assert (await world.fetch(after))[0] == 200
    assert world.kubelet.read_log(NS, "web", "app", None) == ""
