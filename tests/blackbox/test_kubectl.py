"""What a person does with the real kubectl, and what they see."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.blackbox.conftest import (
    FIVE_CLUSTERS,
    NAMESPACES,
    Kubectl,
    Place,
    Process,
    eventually,
    fetch,
)

OPERATOR = "tailscale"
WAIT = "--timeout=60s"


def bring_up(kubectl: Kubectl, place: Place) -> None:
    """The application of a place, exposed and ready."""
    kubectl.apply(*place.manifests())
    wait_ready(kubectl, place)


def wait_ready(kubectl: Kubectl, place: Place) -> None:
    kubectl("wait", "--for=condition=Ready", f"service/{place.name}", "-n", place.namespace, WAIT)


def children(kubectl: Kubectl, place: Place) -> list[str]:
    """The proxy objects of a place."""
    selector = f"tailscale.com/parent-resource-ns={place.namespace}"
    return kubectl(
        "get", "sts,secret,pod,sa,role,rolebinding", "-n", OPERATOR, "-l", selector, "-o", "name"
    ).split()


def condition(kubectl: Kubectl, place: Place, kind: str) -> dict[str, Any]:
    service = kubectl.json("get", "service", place.name, "-n", place.namespace)
    return next((c for c in service["status"].get("conditions", ()) if c["type"] == kind), {})


def renamed(kubectl: Kubectl, name: str) -> None:
    eventually(lambda: name in kubectl.sandbox.devices(), f"a device {name}")


# Bringing up -------------------------------------------------------------------------------------------------------


def test_five_clusters_become_ready(each_kubectl: Kubectl) -> None:
    """The five clusters, applied by kubectl, are ready on each control plane; a second apply changes nothing."""
    each_kubectl("apply", "-f", str(FIVE_CLUSTERS))
    for namespace in NAMESPACES:
        each_kubectl("wait", "--for=condition=Ready", "service", "--all", "-n", namespace, WAIT)
    again = each_kubectl("apply", "-f", str(FIVE_CLUSTERS)).splitlines()
    assert again
    assert all(line.endswith(" unchanged") for line in again)
    assert {
        "adguard",
        "media-jellyfin",
        "grafana-solar",
        "typesense",
    } <= each_kubectl.sandbox.devices().keys()


def test_bytes_through_the_device(each_kubectl: Kubectl, place: Place) -> None:
    """A request to the address in `tailrace status` is answered by the pod behind the Service."""
    bring_up(each_kubectl, place)
    [row] = each_kubectl.sandbox.status(place.namespace)
    assert row["ready"] == "True"
    assert row["urls"] == [f"http://{row['device']}:{place.port}"]
    pod = each_kubectl("get", "pods", "-n", place.namespace, "-o", "name").strip().removeprefix("pod/")
    text = fetch(f"http://{row['addresses'][0]}:{place.port}/hello")
    assert f"pod: {pod}" in text
    assert "GET /hello" in text


# Looking -----------------------------------------------------------------------------------------------------------


def test_get_shows_services_and_proxies(kubectl: Kubectl) -> None:
    """`get -o wide` has the load balancer's device as its external address, and a running pod for each device."""
    kubectl("wait", "--for=condition=Ready", "service/grafana-lb", "-n", "solar", WAIT)
    row = kubectl("get", "svc", "-n", "solar", "grafana-lb", "-o", "wide", "--no-headers").split()
    device = kubectl.sandbox.devices()["solar-grafana-lb"]
    assert row[:2] == ["grafana-lb", "LoadBalancer"]
    assert row[3] == f"{device['addresses'][0]},{device['fqdn']}"
    assert row[-1] == "app=grafana"
    assert "NAMESPACE" in kubectl("get", "svc", "-A", "-o", "wide")
    pods = kubectl("get", "pods", "-n", OPERATOR)
    assert "ts-grafana-lb-" in pods
    assert "Running" in pods
    name = kubectl("get", "svc", "grafana", "-n", "solar", "-o", "jsonpath={.metadata.name}")
    assert name == "grafana"


def test_describe_tells_what_happened(kubectl: Kubectl, place: Place) -> None:
    """`describe` has the annotations and the endpoints; `get -o json` the conditions."""
    bring_up(kubectl, place)
    text = kubectl("describe", "service", place.name, "-n", place.namespace)
    assert place.hostname in text
    assert f"{place.port}/TCP" in text
    assert condition(kubectl, place, "Online")["reason"] == "Connected"
    assert "mode kernel" in condition(kubectl, place, "Accepted")["message"]
    pod = children_of_kind(kubectl, place, "pod/")[0]
    assert "Image:" in kubectl("describe", pod, "-n", OPERATOR)


def children_of_kind(kubectl: Kubectl, place: Place, prefix: str) -> list[str]:
    found = [name for name in children(kubectl, place) if name.startswith(prefix)]
    assert found, f"no {prefix} of {place.namespace}"
    return found


def test_logs_of_a_proxy(kubectl: Kubectl, place: Place) -> None:
    """A proxy pod has a log that names nothing secret."""
    bring_up(kubectl, place)
    pod = children_of_kind(kubectl, place, "pod/")[0]
    log = kubectl("logs", pod, "-n", OPERATOR)
    assert log.strip()
    assert "tskey-auth" not in log
    assert kubectl("logs", pod, "-n", OPERATOR, "--tail=1").count("\n") == 1


def test_watch_sees_the_address_come(kubectl: Kubectl, place: Place) -> None:
    """`get --watch` shows a load balancer go from pending to its device's address."""
    service = place.service()
    service["spec"] |= {"type": "LoadBalancer", "loadBalancerClass": "tailscale"}
    kubectl.apply(place.namespace_document())
    watch = Process.start(
        kubectl.command("get", "svc", "-n", place.namespace, "--watch", "--no-headers"),
    )
    try:
        kubectl.apply(place.deployment(), service)
        watch.wait_line(lambda line: "<pending>" in line)
        watch.wait_line(lambda line: "127." in line.split()[3] and ".net" in line.split()[3])
    finally:
        watch.end()


def test_explain_and_api_resources(kubectl: Kubectl) -> None:
    """The API documents itself: kinds by `api-resources`, fields by `explain`, the version by `version`."""
    listed = kubectl("api-resources", "-o", "name").split()
    assert {"services", "pods", "secrets", "statefulsets.apps", "deployments.apps"} <= set(listed)
    explained = kubectl("explain", "service.spec.loadBalancerClass")
    assert "loadBalancerClass <string>" in explained
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert "Server Version: v1." in kubectl("version")


def test_selectors(kubectl: Kubectl, place: Place) -> None:
    """Labels and fields select, also over all namespaces; a label can be set and taken away."""
    kubectl.apply(*place.manifests())
    ours = ("get", "svc", "-A", "-o", "name", f"--field-selector=metadata.namespace={place.namespace}")
    assert kubectl(*ours).split() == ["service/web"]
    assert kubectl(*ours, "-l", "app in (web),!gone").split() == ["service/web"]
    kubectl("label", "svc", "web", "-n", place.namespace, "tier=front")
    assert kubectl(*ours, "-l", "tier=front").split() == ["service/web"]
    kubectl("label", "svc", "web", "-n", place.namespace, "tier-")
    assert kubectl(*ours, "-l", "tier=front") == ""


# Changing ----------------------------------------------------------------------------------------------------------


def test_annotate_takes_it_off_the_tailnet_and_back(each_kubectl: Kubectl, place: Place) -> None:
    """Without the annotation there is no device and no proxy; with it again there are."""
    kubectl = each_kubectl
    bring_up(kubectl, place)
    kubectl("annotate", "service", place.name, "-n", place.namespace, "tailscale.com/expose-")
    eventually(lambda: not children(kubectl, place), "no proxy")
    eventually(lambda: place.hostname not in kubectl.sandbox.devices(), "no device")
    assert not condition(kubectl, place, "Ready")
    kubectl("annotate", "service", place.name, "-n", place.namespace, "tailscale.com/expose=true")
    wait_ready(kubectl, place)
    assert place.hostname in kubectl.sandbox.devices()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("merge", '{"metadata":{"annotations":{"tailscale.com/hostname":"NAME"}}}'),
        ("strategic", '{"metadata":{"annotations":{"tailscale.com/hostname":"NAME"}}}'),
        (
            "json",
            '[{"op":"replace","path":"/metadata/annotations/tailscale.com~1hostname","value":"NAME"}]',
        ),
    ],
)
def test_patch_renames_the_device(kubectl: Kubectl, place: Place, kind: str, body: str) -> None:
    """Each kind of patch changes the hostname, and the device keeps its address under the new name."""
    bring_up(kubectl, place)
    before = kubectl.sandbox.devices()[place.hostname]
    name = f"new-{place.namespace}"
    kubectl(
        "patch",
        "svc",
        place.name,
        "-n",
        place.namespace,
        f"--type={kind}",
        "-p",
        body.replace("NAME", name),
    )
    renamed(kubectl, name)
    after = kubectl.sandbox.devices()
    assert after[name]["addresses"] == before["addresses"]
    assert place.hostname not in after


def test_patch_renames_on_every_control_plane(each_kubectl: Kubectl, place: Place) -> None:
    """A new hostname is the device's new name, on Tailscale and on Headscale."""
    bring_up(each_kubectl, place)
    name = f"other-{place.namespace}"
    each_kubectl(
        "annotate",
        "--overwrite",
        "svc",
        place.name,
        "-n",
        place.namespace,
        f"tailscale.com/hostname={name}",
    )
    renamed(each_kubectl, name)
    url = f"http://{name}"
    eventually(lambda: url in condition(each_kubectl, place, "Ready").get("message", ""), "the new URL")


def test_edit_by_an_editor(kubectl: Kubectl, place: Place, tmp_path: Path) -> None:
    """`kubectl edit` opens the object in the user's editor and sends what they changed."""
    bring_up(kubectl, place)
    name = f"edited-{place.namespace}"
    editor = tmp_path / "editor"
    editor.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\npath = pathlib.Path(sys.argv[-1])\n"
        f"path.write_text(path.read_text().replace({place.hostname!r}, {name!r}))\n"
    )
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    said = kubectl("edit", "svc", place.name, "-n", place.namespace, editor=str(editor))
    assert "edited" in said
    renamed(kubectl, name)


def test_delete_leaves_nothing(each_kubectl: Kubectl, place: Place) -> None:
    """When `kubectl delete` comes back, the device and every object of its proxy are gone."""
    kubectl = each_kubectl
    bring_up(kubectl, place)
    assert children(kubectl, place)
    kubectl("delete", "service", place.name, "-n", place.namespace, WAIT)
    assert place.hostname not in kubectl.sandbox.devices()
    eventually(lambda: not children(kubectl, place), "no proxy")


def test_delete_the_namespace(kubectl: Kubectl, place: Place) -> None:
    """A namespace takes its Services, and they their devices, with it."""
    bring_up(kubectl, place)
    kubectl("delete", "namespace", place.namespace, WAIT)
    assert place.hostname not in kubectl.sandbox.devices()
    eventually(lambda: not children(kubectl, place), "no proxy")
    assert "NotFound" in kubectl.try_("get", "namespace", place.namespace).stderr


def test_server_side_apply_names_the_other_manager(kubectl: Kubectl, place: Place) -> None:
    """A field that another manager owns is a conflict that names them; `--force-conflicts` takes it."""
    first = ("--server-side", "--field-manager=first")
    kubectl.apply(place.namespace_document(), place.service(), options=first)
    wanted = place.service(**{"tailscale.com/hostname": f"second-{place.namespace}"})
    path = ("apply", "--server-side", "--field-manager=second", "-f", "-")
    refused = kubectl.try_(*path, given=yaml.safe_dump(wanted))
    assert refused.returncode == 1
    assert 'conflict with "first"' in refused.stderr
    assert ".metadata.annotations.tailscale.com/hostname" in refused.stderr
    kubectl(*path, "--force-conflicts", given=yaml.safe_dump(wanted))
    managers = kubectl.json("get", "svc", place.name, "-n", place.namespace, "--show-managed-fields")
    assert {"first", "second"} <= {m["manager"] for m in managers["metadata"]["managedFields"]}


def test_diff_shows_what_apply_would_do(kubectl: Kubectl, place: Place) -> None:
    """`kubectl diff` says nothing and 0 when nothing differs, and the lines and 1 when something does."""
    kubectl.apply(*place.manifests())
    same = kubectl.try_("diff", "-f", "-", given=yaml.safe_dump_all(place.manifests()))
    assert (same.returncode, same.stdout) == (0, "")
    changed = place.service(**{"tailscale.com/hostname": "something-else"})
    other = kubectl.try_("diff", "-f", "-", given=yaml.safe_dump(changed))
    assert other.returncode == 1, other.stderr
    assert "+    tailscale.com/hostname: something-else" in other.stdout


def test_scale_and_rollout(kubectl: Kubectl, place: Place) -> None:
    """`scale` gives a Deployment more pods, `rollout status` waits for them, `restart` replaces them."""
    bring_up(kubectl, place)
    here = ("-n", place.namespace)
    kubectl("scale", "deployment", place.name, "--replicas=3", *here)
    assert "successfully rolled out" in kubectl("rollout", "status", f"deployment/{place.name}", *here, WAIT)
    before = set(kubectl("get", "pods", "-o", "name", *here).split())
    assert len(before) == 3
    kubectl("rollout", "restart", f"deployment/{place.name}", *here)
    kubectl("rollout", "status", f"deployment/{place.name}", *here, WAIT)
    eventually(lambda: not before & set(kubectl("get", "pods", "-o", "name", *here).split()), "new pods")
    proxy = children_of_kind(kubectl, place, "statefulset.apps/")[0]
    said = kubectl("rollout", "status", proxy, "-n", OPERATOR, WAIT)
    assert "rolling update complete" in said or "roll out complete" in said


def test_scale_to_nothing_is_told(kubectl: Kubectl, place: Place) -> None:
    """A Service without pods is not ready and says why; with a pod it is ready again."""
    bring_up(kubectl, place)
    here = ("-n", place.namespace)
    kubectl("scale", "deployment", place.name, "--replicas=0", *here)
    kubectl("wait", "--for=condition=Ready=false", f"service/{place.name}", *here, WAIT)
    assert condition(kubectl, place, "Ready")["reason"] == "NoEndpoints"
    kubectl("scale", "deployment", place.name, "--replicas=1", *here)
    wait_ready(kubectl, place)


def test_create_by_flags(kubectl: Kubectl, place: Place) -> None:
    """`kubectl create` makes objects without a file."""
    here = ("-n", place.namespace)
    kubectl("create", "namespace", place.namespace)
    kubectl("create", "configmap", "settings", "--from-literal=a=b", *here)
    kubectl("create", "secret", "generic", "password", "--from-literal=word=open", *here)
    kubectl("create", "deployment", "shop", "--image=example.com/shop:1", f"--port={place.port}", *here)
    kubectl("expose", "deployment", "shop", f"--port={place.port}", *here)
    kubectl("annotate", "svc", "shop", "tailscale.com/expose=true", *here)
    kubectl("wait", "--for=condition=Ready", "service/shop", *here, WAIT)
    assert kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.a}", *here) == "b"
    assert kubectl("get", "secret", "password", "-o", "jsonpath={.data.word}", *here) == "b3Blbg=="


def test_can_i_as_the_operator(kubectl: Kubectl) -> None:
    """The operator's service account may do what its Roles say and no more."""
    operator = "--as=system:serviceaccount:tailscale:operator"
    assert kubectl("auth", "can-i", "list", "services", "-A", operator).strip() == "yes"
    refused = kubectl.try_("auth", "can-i", "list", "secrets", "-A", operator)
    assert (refused.returncode, refused.stdout.strip()) == (1, "no")
    assert kubectl("auth", "can-i", "*", "*").strip() == "yes"
    denied = kubectl.try_("get", "secrets", "-n", "solar", operator)
    assert "Forbidden" in denied.stderr


# Mistakes and faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 70000, "targetPort": 80}, "must be between 1 and 65535"),
        ({"prot": 80}, 'unknown field "spec.ports[0].prot"'),
        ({"protocol": "HTTP"}, 'Unsupported value: "HTTP"'),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_sentence(
    kubectl: Kubectl, place: Place, change: dict[str, Any], words: str
) -> None:
    """A wrong port, an unknown field, an unknown protocol: kubectl says which, and nothing is made."""
    kubectl.apply(place.namespace_document())
    service = place.service()
    service["spec"]["ports"][0] |= change
    refused = kubectl.try_("apply", "-f", "-", given=yaml.safe_dump(service))
    assert refused.returncode == 1
    assert words in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "NotFound" in kubectl.try_("get", "svc", place.name, "-n", place.namespace).stderr


def test_dots_in_a_hostname_are_told(kubectl: Kubectl, place: Place) -> None:
    """A hostname with dots: a condition and an event that say what to write instead."""
    kubectl.apply(place.namespace_document(), place.service(**{"tailscale.com/hostname": "wiki.example.com"}))
    kubectl("wait", "--for=condition=Accepted=false", "svc/web", "-n", place.namespace, WAIT)
    told = condition(kubectl, place, "Ready")
    assert told["reason"] == "InvalidService"
    assert "wiki-example-com" in told["message"]
    described = kubectl("describe", "svc", "web", "-n", place.namespace)
    assert "Warning  INVALIDSERVICE" in described


def test_a_deleted_device_comes_back(each_kubectl: Kubectl, place: Place) -> None:
    """A device that somebody deletes on the control plane is made anew, and answers."""
    kubectl = each_kubectl
    bring_up(kubectl, place)
    before = kubectl.sandbox.devices()[place.hostname]
    kubectl.sandbox.ask_plane("DELETE", f"devices/{before['id']}")
    after = eventually(lambda: kubectl.sandbox.devices().get(place.hostname), "a new device")
    assert after["id"] != before["id"]
    eventually(
        lambda: after["addresses"][0] in condition(kubectl, place, "Online").get("message", ""),
        "the new address is told",
    )
    wait_ready(kubectl, place)
    assert "pod: web-" in fetch(f"http://{after['addresses'][0]}:{place.port}/")


def test_a_crashed_proxy_comes_back(kubectl: Kubectl, place: Place) -> None:
    """A proxy pod that somebody deletes comes back as the same device."""
    bring_up(kubectl, place)
    before = kubectl.sandbox.devices()[place.hostname]
    pod = children_of_kind(kubectl, place, "pod/")[0]
    kubectl("delete", pod, "-n", OPERATOR, WAIT)
    kubectl("wait", "--for=create", pod, "-n", OPERATOR, WAIT)
    kubectl("wait", "--for=condition=Ready", pod, "-n", OPERATOR, WAIT)
    wait_ready(kubectl, place)
    assert kubectl.sandbox.devices()[place.hostname]["id"] == before["id"]


def test_several_kinds_at_once(kubectl: Kubectl, place: Place) -> None:
    """One call lists, another deletes, objects of several kinds."""
    kubectl.apply(*place.manifests())
    listed = kubectl("get", "deploy,svc,endpointslices", "-n", place.namespace, "-o", "name").split()
    assert {"deployment.apps/web", "service/web"} <= set(listed)
    kubectl("delete", "deploy,svc", "-l", "app=web", "-n", place.namespace, WAIT)
    eventually(lambda: kubectl("get", "deploy,svc,pods", "-n", place.namespace, "-o", "name") == "", "gone")


def test_a_stopped_watch_ends(kubectl: Kubectl) -> None:
    """`kubectl get -w` with a limit of time ends by itself."""
    done = subprocess.run(
        kubectl.command("get", "svc", "-A", "--watch", "--request-timeout=1s"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "grafana" in done.stdout
