"""Which classes can be used, and what their authors are told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from lightkube.models import core_v1

from tailrace.api import kube, pod, proxyclass
from tailrace.api.proxyclass import PortRange, ProxyClass
from tailrace.kinds.proxyclass import validate, warn
from tailrace.proxy import extensions
from tailrace.proxy.spec import Mode

CLUSTER = PortRange(port=30000, endPort=32767)


def make(
    annotations: Mapping[str, Any] = {}, *, name: str = "mine", observed: int = 0, **spec: Any
) -> ProxyClass:
    """A class of generation 2; `observed` is the generation that was found valid."""
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in annotations.items()
    }
    ready = kube.Condition(type="ProxyClassReady", status="True", observedGeneration=observed)
    return ProxyClass(
        metadata=kube.ObjectMeta(name=name, generation=2, annotations=texts),
        spec=msgspec.convert(spec, proxyclass.Spec),
        status=proxyclass.Status(conditions=(ready,) if observed else ()),
    )


def ports(*ranges: tuple[int, int], name: str = "mine", observed: int = 0) -> ProxyClass:
    listed = [{"port": first, "endPort": last} for first, last in ranges]
    return make(name=name, observed=observed, staticEndpoints={"nodePort": {"ports": listed}})


def container(**fields: Any) -> ProxyClass:
    return make(statefulSet={"pod": {"tailscaleContainer": fields}})


def test_an_empty_class_is_valid_and_silent() -> None:
    assert validate.check_class(make(), node_ports=CLUSTER, has_service_monitors=False) == ()
    for mode in (None, *Mode):
        assert warn.warn_class(make(), mode=mode, pod_security="restricted") == ()
    assert warn.warn_variables(make()) == ()


@pytest.mark.parametrize("key", ["team", "example.org/team", "a" * 63, f"{'a' * 61}.b/x", "Team_1.x"])
def test_label_keys_that_are_valid(key: str) -> None:
    assert validate.check_class(make(statefulSet={"labels": {key: "a"}})) == ()


@pytest.mark.parametrize("key", ["", "-a", "a-", "a/b/c", "/a", "a/", "A.org/x", "a b", "a" * 64, "a\n"])
def test_label_keys_that_are_not(key: str) -> None:
    given = make(statefulSet={"pod": {"labels": {key: "a"}}})
    (problem,) = validate.check_class(given)
    assert problem.startswith(f"spec.statefulSet.pod.labels: {key!r} is no label key")


def test_annotation_keys_and_sizes_are_judged() -> None:
    given = make(statefulSet={"annotations": {"Example.org/note": "x", "a b": "y", "big": "x" * 300_000}})
    problems = validate.check_class(given)
    assert [p.split(":")[0] for p in problems] == ["spec.statefulSet.annotations"] * 2
    assert "'a b' is no annotation key" in problems[0]
    assert "256 KiB" in problems[1]


def test_labels_of_a_service_monitor_and_of_a_patch_are_judged() -> None:
    given = make(
        {extensions.POD_PATCH: {"metadata": {"labels": {"team": "a b", "gone": None}}}},
        metrics={"enable": True, "serviceMonitor": {"enable": True, "labels": {"a b": ""}}},
    )
    problems = validate.check_class(given)
    assert len(problems) == 2
    assert "'a b' is no label value" in problems[0]
    assert problems[1].startswith("spec.metrics.serviceMonitor.labels: ")


@pytest.mark.parametrize(
    "image",
    [
        "tailscale/tailscale",
        "ghcr.io/tailscale/tailscale:v1.90.0",
        "registry:5000/a/b-c__d:latest",
        "[fd00::1]:5000/a",
        f"example.org/a@sha256:{'0' * 64}",
        f"example.org/a:v1@sha256:{'0' * 64}",
    ],
)
def test_image_references_that_are_valid(image: str) -> None:
    assert validate.check_class(container(image=image)) == ()


@pytest.mark.parametrize(
    "image", ["FOO bar", "a:", "a//b", "https://a/b", "a@sha256:12", "a:-v", "Tailscale", "a/B", "a\n"]
)
def test_image_references_that_are_not(image: str) -> None:
    (problem,) = validate.check_class(container(image=image))
    assert problem.startswith("spec.statefulSet.pod.tailscaleContainer.image: ")


def test_the_init_container_has_no_debug_endpoint() -> None:
    given = make(statefulSet={"pod": {"tailscaleInitContainer": {"debug": {}}}})
    (problem,) = validate.check_class(given)
    assert problem.startswith("spec.statefulSet.pod.tailscaleInitContainer.debug: ")


@pytest.mark.parametrize(("enable", "installed", "valid"), [(True, False, False), (True, True, True), (False, False, True)])  # fmt: skip
def test_a_service_monitor_needs_its_kind(enable: bool, installed: bool, valid: bool) -> None:
    given = make(metrics={"enable": True, "serviceMonitor": {"enable": enable}})
    problems = validate.check_class(given, has_service_monitors=installed)
    assert (problems == ()) is valid
    assert valid or '"servicemonitors.monitoring.coreos.com" CRD was not found' in problems[0]


@pytest.mark.parametrize(
    ("ranges", "problems"),
    [
        (((30000, 0),), ()),
        (((30000, 32767),), ()),
        (((30001, 30002), (30003, 30004)), ()),
        (((80, 0),), ('range "80" is not within Cluster configured range "30000-32767"',)),
        (((32000, 33000),), ('range "32000-33000" is not within Cluster configured range "30000-32767"',)),
        (((31000, 30500),), ('port range "31000-30500" is invalid',)),
        (((30500, 30600), (30000, 30500)), ('overlapping ranges: "30000-30500" and "30500-30600"',)),
        (((30500, 0), (30500, 0)), ('overlapping ranges: "30500" and "30500"',)),
        (((30000, 30900), (30100, 0), (30800, 0)), (
            'overlapping ranges: "30000-30900" and "30100"',
            'overlapping ranges: "30000-30900" and "30800"',
        )),
    ],
)  # fmt: skip
def test_static_endpoints_have_ports_of_the_cluster_once(
    ranges: tuple[tuple[int, int], ...], problems: tuple[str, ...]
) -> None:
    assert validate.check_class(ports(*ranges), node_ports=CLUSTER) == problems


def test_a_range_that_the_cluster_does_not_tell_is_not_judged() -> None:
    assert validate.check_class(ports((80, 0))) == ()
    assert validate.check_class(ports((0, 0))) == ('port range "0" is invalid',)


def test_ports_are_not_those_of_another_class_that_is_ready() -> None:
    given = ports((30100, 30200))
    others = [
        given,
        ports((30150, 0), name="ready", observed=2),
        ports((30150, 0), name="stale", observed=1),
        ports((30150, 0), name="new"),
        ports((30201, 30300), name="beside", observed=2),
    ]
    assert validate.check_class(given, others=others) == (
        'port ranges for ProxyClass "mine" clash with existing ProxyClass "ready"',
    )


def test_a_broken_annotation_makes_the_class_invalid_and_the_message_has_all_that_is_wrong() -> None:
    given = make({extensions.VOLUMES: "{"}, statefulSet={"labels": {"a b": ""}})
    problems = validate.check_class(given)
    assert len(problems) == 2
    assert validate.describe(problems) == f"ProxyClass is not valid: {problems[0]}; {problems[1]}"


def test_mounts_have_a_volume_and_leave_the_proxys_own_alone() -> None:
    given = make(
        {
            extensions.VOLUMES: [
                {"name": "config", "emptyDir": {}},
                {"name": "ca", "configMap": {"name": "ca"}},
            ],
            extensions.VOLUME_MOUNTS: [
                {"name": "ca", "mountPath": "/etc/ca"},
                {"name": "more", "mountPath": "/more"},
                {"name": "none", "mountPath": "/none"},
                {"name": "ca", "mountPath": "/tmp/"},
                {"name": "ca", "mountPath": "/etc/tsconfig/more"},
                {"name": "ca", "mountPath": "/tmpfiles"},
            ],
            extensions.POD_PATCH: {"spec": {"volumes": [{"name": "more", "emptyDir": {}}]}},
        }
    )
    assert [problem.split(": ")[1].split(";")[0] for problem in validate.check_class(given)] == [
        "the proxy has a volume config of its own",
        "there is no volume none",
        "/tmp/ is the proxy's own",
        "/etc/tsconfig/more is the proxy's own",
    ]


def test_variables_of_tailscale_are_told() -> None:
    names = ["TS_USERSPACE", "experimental_ts_configfile_path", "HTTPS_PROXY", "TS_KUBE_SECRET"]
    told = warn.warn_variables(container(env=[{"name": name} for name in names]))
    assert told == (
        "ProxyClass overrides the default value for TS_USERSPACE env var for tailscale container. Running with "
        "custom values for Tailscale env vars is not recommended and might break in the future.",
        "ProxyClass overrides the default value for experimental_ts_configfile_path env var for tailscale container. "
        "Running with custom values for Tailscale env vars is not recommended and might break in the future.",
        "The variable TS_KUBE_SECRET stays the operator's: without it the proxy would not find its state.",
    )


@pytest.mark.parametrize(
    ("given", "mode", "told"),
    [
        (make(statefulSet={"pod": {"tailscaleInitContainer": {"image": "a"}}}), Mode.USERSPACE, "no init container"),
        (make(statefulSet={"pod": {"tailscaleInitContainer": {"image": "a"}}}), Mode.KERNEL, ""),
        (make(tailscale={"acceptRoutes": True}), Mode.USERSPACE, "acceptRoutes"),
        (make(tailscale={"acceptRoutes": True}), Mode.KERNEL, ""),
        (container(securityContext={"runAsUser": 0}), Mode.KERNEL, "kernel mode"),
        (container(securityContext={"privileged": True}), Mode.KERNEL, ""),
        (container(securityContext={"capabilities": {"add": ["NET_ADMIN"]}}), Mode.KERNEL, ""),
    ],
)  # fmt: skip
def test_what_the_mode_forbids_is_told(given: ProxyClass, mode: Mode, told: str) -> None:
    found = warn.warn_class(given, mode=mode)
    assert told in found[0] if told else found == ()


SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize(
    ("given", "level", "told"),
    [
        (container(securityContext={"privileged": True}), "baseline", ["container tailscale with privileged: true"]),
        (container(securityContext={"privileged": True}), "privileged", []),
        (container(securityContext={}), "baseline", []),
        (container(securityContext=SAFE), "restricted", []),
        (
            container(securityContext={**SAFE, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
            "restricted",
            ["container tailscale with the capabilities NET_ADMIN"],
        ),
        (
            container(securityContext={}),
            "restricted",
            [
                "container tailscale without allowPrivilegeEscalation: false",
                "container tailscale without dropping the capabilities ALL",
            ],
        ),
        (
            make(statefulSet={"pod": {"securityContext": {"runAsUser": 0}}}),
            "restricted",
            [
                "container tailscale without runAsNonRoot: true",
                "container tailscale without a seccompProfile",
                "the pod with runAsUser: 0",
            ],
        ),
        (
            make({extensions.VOLUMES: [{"name": "logs", "hostPath": {"path": "/var"}}]}),
            "baseline",
            ["volume logs (hostPath)"],
        ),
        (
            make({extensions.POD_PATCH: {"spec": {"hostNetwork": True, "containers": [{"name": "b", "securityContext": SAFE}]}}}),
            "restricted",
            ["hostNetwork: true"],
        ),
    ],
)  # fmt: skip
def test_what_pod_security_forbids_is_told_and_no_more(
    given: ProxyClass, level: str, told: list[str]
) -> None:
    found = warn.warn_class(given, mode=Mode.USERSPACE, pod_security=level)
    assert [each.split(" is not admitted")[0] for each in found] == told


def test_what_stays_the_operators_is_told() -> None:
    given = make(
        {extensions.POD_PATCH: {"spec": {"serviceAccountName": "x"}, "metadata": {"annotations": {"tailrace.dev/a": "b"}}}},
        statefulSet={"labels": {"app": "fine"}, "pod": {"labels": {"app": "x", "tailscale.com/managed": "x"}}},
    )  # fmt: skip
    assert warn.warn_class(given) == (
        "These labels and annotations stay the operator's: app, tailrace.dev/a, tailscale.com/managed.",
        "annotation tailrace.dev/pod-patch: serviceAccountName stays the operator's; each proxy has its own.",
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pod.Affinity, core_v1.Affinity),
        (pod.NodeAffinity, core_v1.NodeAffinity),
        (pod.PreferredSchedulingTerm, core_v1.PreferredSchedulingTerm),
        (pod.NodeSelectorTerm, core_v1.NodeSelectorTerm),
        (pod.SelectorRequirement, core_v1.NodeSelectorRequirement),
        (pod.PodAffinity, core_v1.PodAntiAffinity),
        (pod.WeightedPodAffinityTerm, core_v1.WeightedPodAffinityTerm),
        (pod.PodAffinityTerm, core_v1.PodAffinityTerm),
        (pod.Toleration, core_v1.Toleration),
        (pod.TopologySpreadConstraint, core_v1.TopologySpreadConstraint),
        (pod.PodSecurityContext, core_v1.PodSecurityContext),
        (pod.SecurityContext, core_v1.SecurityContext),
        (pod.Capabilities, core_v1.Capabilities),
        (pod.Profile, core_v1.SeccompProfile),
        (pod.Profile, core_v1.AppArmorProfile),
        (pod.SELinuxOptions, core_v1.SELinuxOptions),
        (pod.Sysctl, core_v1.Sysctl),
        (pod.WindowsOptions, core_v1.WindowsSecurityContextOptions),
        (pod.DNSConfig, core_v1.PodDNSConfig),
        (pod.DNSOption, core_v1.PodDNSConfigOption),
        (pod.Resources, core_v1.ResourceRequirements),
        (pod.ResourceClaim, core_v1.ResourceClaim),
    ],
)
def test_parts_of_a_pod_have_every_field_that_kubernetes_has(
    ours: type[msgspec.Struct], theirs: type[msgspec.Struct]
) -> None:
    def read(struct: type[msgspec.Struct]) -> dict[str, bool]:
        return {each.name: each.required for each in msgspec.structs.fields(struct)}

    assert read(ours) == read(theirs)
