"""The proxy's pod in both modes: what a namespace that enforces `restricted` admits, and what it must not."""

from __future__ import annotations

from typing import Any

from tailrace.api import names
from tailrace.proxy import rbac, spec, statefulset
from tests.proxy.test_secret import build

FORWARDS = spec.Forwards(ports=(spec.Forward(port=80, host="10.0.0.1", target=80),))


def container(target: spec.Target) -> dict[str, Any]:
    pod = statefulset.build_statefulset(build(target))["spec"]["template"]["spec"]
    return {**pod["containers"][0], "pod": pod}


def env(target: spec.Target) -> dict[str, Any]:
    return {e["name"]: e.get("value") for e in container(target)["env"]}


def test_a_userspace_pod_asks_for_no_privilege() -> None:
    found = container(FORWARDS)
    assert "initContainers" not in found["pod"]
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert found["pod"]["securityContext"]["runAsNonRoot"] is True
    assert found["pod"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_a_userspace_proxy_is_bounded_in_memory_and_serves() -> None:
    found = env(FORWARDS)
    assert found["GOMEMLIMIT"] == "128MiB"
    assert found["TS_SERVE_CONFIG"] == "/etc/tsconfig/ts-web-abc-0/serve-config"
    assert "TS_DEST_IP" not in found


def test_a_kernel_proxy_forwards_by_address_or_name() -> None:
    assert env(spec.Address(ip="10.0.0.1"))["TS_DEST_IP"] == "10.0.0.1"
    assert env(spec.DnsName(name="db.example.com"))["TS_EXPERIMENTAL_DEST_DNS_NAME"] == "db.example.com"
    assert container(spec.Address(ip="10.0.0.1"))["securityContext"] == {"privileged": True}


def test_the_health_port_is_kept_off_the_tailnet_in_both_modes() -> None:
    for target in (FORWARDS, spec.Address(ip="10.0.0.1")):
        assert env(target)["TS_LOCAL_ADDR_PORT"] == "$(POD_IP):9002"


def test_only_configuration_is_mounted_never_the_nodes_private_keys() -> None:
    for target, keys in (
        (FORWARDS, ["cap-107.hujson", "serve-config"]),
        (spec.Address(ip="1.2.3.4"), ["cap-107.hujson"]),
    ):
        volume = container(target)["pod"]["volumes"][0]["secret"]
        assert [item["key"] for item in volume["items"]] == keys


def test_a_change_of_target_restarts_a_kernel_pod_and_no_userspace_one() -> None:
    def template(target: spec.Target) -> Any:
        return statefulset.build_statefulset(build(target))["spec"]["template"]

    assert template(spec.Address(ip="10.0.0.1")) != template(spec.Address(ip="10.0.0.2"))
    other = spec.Forwards(ports=(spec.Forward(port=81, host="10.0.0.1", target=81),))
    assert template(FORWARDS) == template(other)


def test_a_pod_that_never_gets_ready_does_not_block_its_own_mending() -> None:
    assert statefulset.build_statefulset(build())["spec"]["podManagementPolicy"] == "Parallel"


def test_a_pod_that_leads_to_a_name_is_not_waited_for_when_it_restarts() -> None:
    """Its containerboot heeds nothing any more once the name is gone, and the name's new addresses restart it."""
    first, second = (
        spec.TailnetName(fqdn="db.lab.example", addresses=(ip,)) for ip in ("100.64.0.1", "100.64.0.2")
    )
    pods = [statefulset.build_statefulset(build(t))["spec"]["template"] for t in (first, second)]
    assert pods[0] != pods[1]
    assert pods[0]["spec"] == pods[1]["spec"]
    assert pods[0]["spec"]["terminationGracePeriodSeconds"] == statefulset.GRACE


def test_a_proxys_rights_end_at_its_own_secret() -> None:
    account, role, binding = rbac.build_rbac(build())
    secrets = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert secrets == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["ts-web-abc-0"],
            "verbs": ["get", "update", "patch"],
        }
    ]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "tailscale"}
    ]


def test_the_mode_stands_on_the_statefulset() -> None:
    assert (
        statefulset.build_statefulset(build(FORWARDS))["metadata"]["annotations"][names.PROXY_MODE]
        == "userspace"
    )
