"""Pod security says what the real API server says, word for word."""

from __future__ import annotations

from typing import Any

from tailrace.sandbox.workloads import podsecurity

KERNEL: dict[str, Any] = {
    "initContainers": [{"name": "sysctler", "securityContext": {"privileged": True}}],
    "containers": [{"name": "tailscale", "securityContext": {"privileged": True}}],
}
USERSPACE: dict[str, Any] = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "tailscale",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
    "volumes": [{"name": "config", "secret": {"secretName": "x"}}, {"name": "tmp", "emptyDir": {}}],
}


def said(level: str, spec: dict[str, Any]) -> str:
    return ", ".join(map(str, podsecurity.check_pod(level, {}, spec)))


def test_a_privileged_proxy_is_refused_in_restricted() -> None:
    assert said("restricted", KERNEL) == (
        'privileged (containers "sysctler", "tailscale" must not set securityContext.privileged=true), '
        'allowPrivilegeEscalation != false (containers "sysctler", "tailscale" must set '
        "securityContext.allowPrivilegeEscalation=false), "
        'unrestricted capabilities (containers "sysctler", "tailscale" must set '
        'securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or containers "sysctler", "tailscale" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or containers "sysctler", "tailscale" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )


def test_baseline_refuses_privileged_alone() -> None:
    detail = 'containers "sysctler", "tailscale" must not set securityContext.privileged=true'
    assert said("baseline", KERNEL) == f"privileged ({detail})"
    assert said("privileged", KERNEL) == ""


def test_the_userspace_proxy_passes_restricted() -> None:
    assert said("restricted", USERSPACE) == ""


def test_net_admin_is_no_default_capability() -> None:
    spec = {"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]}
    assert said("baseline", spec) == (
        'non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)'
    )


def test_host_access_is_named() -> None:
    spec = {
        "hostNetwork": True,
        "containers": [{"name": "a", "ports": [{"hostPort": 80}]}],
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
    }
    assert said("baseline", spec) == (
        'host namespaces (hostNetwork=true), hostPath volumes (volume "v"), hostPort (container "a" uses hostPort 80)'
    )
