"""A ProxyClass over a proxy's manifest: what it changes, what it never can, and that it can be applied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.api import names, proxyclass
from tailrace.api.proxyclass import ProxyClass
from tailrace.proxy import extensions, merge, overlay, spec, statefulset
from tailrace.proxy.metrics import ProxyType
from tailrace.proxy.names import build_labels


def build(target: spec.Target, mode: spec.Mode) -> dict[str, Any]:
    return statefulset.build_statefulset(
        spec.ProxySpec(
            name="ts-web-abc",
            namespace="tailscale",
            secret_name="ts-web-abc-0",
            labels=build_labels("svc", "media", "web"),
            app="uid",
            hostname="web",
            mode=mode,
            target=target,
            image=spec.Image(image="tailscale/tailscale:v1", priority_class="ours"),
        )
    )


KERNEL = build(spec.Address(ip="10.0.0.1"), spec.Mode.KERNEL)
USERSPACE = build(
    spec.Forwards(ports=(spec.Forward(port=80, host="10.0.0.1", target=80),)), spec.Mode.USERSPACE
)


def make(annotations: Mapping[str, Any] = {}, **parts: Any) -> ProxyClass:
    """A class with these annotations (documents become text) and parts of its spec."""
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in annotations.items()
    }
    return msgspec.convert({"metadata": {"name": "c", "annotations": texts}, "spec": parts}, ProxyClass)


def pod(**fields: Any) -> ProxyClass:
    return make(statefulSet={"pod": fields})


def container(**fields: Any) -> ProxyClass:
    return pod(tailscaleContainer=fields)


def patch(**document: Any) -> ProxyClass:
    return make({extensions.POD_PATCH: document})


def apply(
    given: ProxyClass, base: Mapping[str, Any] = KERNEL, proxy: ProxyType = ProxyType.SERVICE
) -> dict[str, Any]:
    return overlay.apply_class(base, given, proxy)


def pod_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def main_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod_of(manifest)["containers"][0]
    return found


def env_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in main_of(manifest)["env"]}


@pytest.mark.parametrize("base", [KERNEL, USERSPACE], ids=["kernel", "userspace"])
@pytest.mark.parametrize("proxy", ProxyType)
def test_an_empty_class_changes_nothing(base: dict[str, Any], proxy: ProxyType) -> None:
    assert apply(make(), base, proxy) == base
    assert apply(make(statefulSet={"pod": {}}), base, proxy) == base


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}),
        ("securityContext", {"fsGroup": 0, "runAsNonRoot": False}),
        ("imagePullSecrets", [{"name": "registry"}]),
        ("nodeName", "n1"),
        ("nodeSelector", {"arch": "arm64"}),
        ("tolerations", [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "Exists"}]),
        ("topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
        ("priorityClassName", "high"),
        ("dnsPolicy", "None"),
        ("dnsConfig", {"nameservers": ["10.0.0.53"], "options": [{"name": "ndots", "value": "2"}]}),
    ],
)  # fmt: skip
def test_a_field_of_the_pod_is_what_the_class_says(field: str, value: Any) -> None:
    assert pod_of(apply(pod(**{field: value})))[field] == value


def test_a_field_that_was_given_empty_takes_ours_away_and_one_left_out_does_not() -> None:
    ours = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532}
    kept = pod_of(apply(pod(nodeName="n1"), USERSPACE))["securityContext"]
    assert ours.items() <= kept.items()
    assert "securityContext" not in pod_of(apply(pod(securityContext={}), USERSPACE))


def test_the_container_takes_image_policy_rights_and_resources() -> None:
    found = main_of(
        apply(
            container(
                image="example.org/tailscale:v1",
                imagePullPolicy="Never",
                securityContext={"privileged": False},
                resources={"limits": {"memory": "64Mi"}, "claims": [{"name": "gpu", "request": "one"}]},
            )
        )
    )
    assert (found["image"], found["imagePullPolicy"]) == ("example.org/tailscale:v1", "Never")
    assert found["securityContext"] == {"privileged": False}
    assert found["resources"] == {
        "requests": {"cpu": "1m", "memory": "1Mi"},
        "limits": {"memory": "64Mi"},
        "claims": [{"name": "gpu", "request": "one"}],
    }


def test_the_init_container_takes_them_where_there_is_one() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "POD_NAME", "value": "it has no state to lose"}]
    given = pod(tailscaleInitContainer={"image": "example.org/sysctl", "env": env})
    (found,) = pod_of(apply(given))["initContainers"]
    assert (found["image"], found["env"]) == ("example.org/sysctl", env)
    assert apply(given, USERSPACE) == USERSPACE


def test_a_variable_of_the_class_wins_and_stands_once() -> None:
    given = container(
        env=[
            {"name": "A", "value": "1"},
            {"name": "TS_USERSPACE", "value": "$(A)"},
            {"name": "A", "value": "2"},
        ]
    )
    listed = main_of(apply(given))["env"]
    assert listed[-2:] == [{"name": "A", "value": "2"}, {"name": "TS_USERSPACE", "value": "$(A)"}]
    assert [each["name"] for each in listed].count("TS_USERSPACE") == 1


def test_a_variable_that_one_of_ours_refers_to_keeps_its_place() -> None:
    given = make(
        metrics={"enable": True},
        statefulSet={"pod": {"tailscaleContainer": {"env": [{"name": "TS_DEBUG_ADDR_PORT", "value": ":1"}]}}},
    )
    listed = [each["name"] for each in main_of(apply(given))["env"]]
    assert listed.index("TS_DEBUG_ADDR_PORT") < listed.index("TS_TAILSCALED_EXTRA_ARGS")
    assert env_of(apply(given))["TS_DEBUG_ADDR_PORT"] == ":1"


def test_the_state_secret_and_the_folder_of_its_configuration_cannot_be_changed() -> None:
    wrong = [{"name": name, "value": "mine"} for name in sorted(overlay.PROTECTED_ENV)]
    assert main_of(apply(container(env=wrong)))["env"] == main_of(KERNEL)["env"]


@pytest.mark.parametrize(
    ("parts", "debug", "metrics"),
    [
        ({"metrics": {"enable": True}}, True, True),
        ({"metrics": {"enable": True}, "debug": {"enable": False}}, False, True),
        ({"metrics": {"enable": False}, "debug": {"enable": True}}, True, False),
        ({"debug": {"enable": True}}, True, False),
        ({"debug": {}}, False, False),
        ({"metrics": {"enable": False}}, False, False),
    ],
)
def test_debug_follows_metrics_unless_it_is_said(parts: dict[str, Any], debug: bool, metrics: bool) -> None:
    own = {"debug": parts.pop("debug")} if "debug" in parts else {}
    given = make(**parts, statefulSet={"pod": {"tailscaleContainer": own}})
    found = apply(given)
    ports = {each["name"]: each["containerPort"] for each in main_of(found).get("ports", [])}
    assert ports == ({"debug": 9001} if debug else {}) | ({"metrics": 9002} if metrics else {})
    assert ("TS_DEBUG_ADDR_PORT" in env_of(found)) is debug
    assert (env_of(found).get("TS_ENABLE_METRICS") == "true") is metrics
    assert apply(given, proxy=ProxyType.EGRESS) == KERNEL


def test_only_what_serves_https_asks_the_staging_servers() -> None:
    given = make(useLetsEncryptStagingEnvironment=True)
    assert apply(given) == KERNEL
    assert env_of(apply(given, proxy=ProxyType.INGRESS))["TS_DEBUG_ACME_DIRECTORY_URL"] == overlay.STAGING


def test_labels_and_annotations_stand_beside_ours() -> None:
    mine = {"team": "a", names.MANAGED: "false", names.APP: "mine"}
    notes = {"note": "x", names.LAST_CLUSTER_IP: "1.2.3.4", "tailrace.dev/applied": "no"}
    given = make(
        statefulSet={"labels": mine, "annotations": notes, "pod": {"labels": mine, "annotations": notes}}
    )
    found = apply(given)
    ours, template = KERNEL["metadata"], KERNEL["spec"]["template"]["metadata"]
    assert found["metadata"]["labels"] == {**ours["labels"], "team": "a", names.APP: "mine"}
    assert found["metadata"]["annotations"] == {**ours["annotations"], "note": "x"}
    assert found["spec"]["template"]["metadata"]["labels"] == {**template["labels"], "team": "a"}
    assert found["spec"]["template"]["metadata"]["annotations"] == {**template["annotations"], "note": "x"}


@pytest.mark.parametrize(
    ("parts", "proxy"),
    [
        ({"statefulSet": {"labels": {"team": "a"}, "annotations": {"note": "x"}}}, ProxyType.SERVICE),
        ({"metrics": {"enable": True}}, ProxyType.EGRESS),
        ({"useLetsEncryptStagingEnvironment": True}, ProxyType.CONNECTOR),
        ({"staticEndpoints": {"nodePort": {"ports": [{"port": 30000}]}}}, ProxyType.SERVICE),
        ({"metrics": {"enable": False, "serviceMonitor": {"enable": False}}}, ProxyType.SERVICE),
    ],
)
def test_a_change_that_does_not_concern_a_pod_leaves_its_template(
    parts: dict[str, Any], proxy: ProxyType
) -> None:
    """What changes the template restarts the pod, so nothing else may."""
    assert apply(make(**parts), proxy=proxy)["spec"] == KERNEL["spec"]


def test_a_pod_is_shaped_like_the_template() -> None:
    """A dry run of the pod is to show what the cluster says to the one that the StatefulSet makes."""
    given = pod(labels={"team": "a"}, nodeName="n1")
    template = {**KERNEL["spec"]["template"], "kind": "Pod"}
    expected = {**apply(given)["spec"]["template"], "kind": "Pod"}
    assert overlay.overlay_template(template, given, ProxyType.SERVICE) == expected


def test_a_private_ca_is_mounted() -> None:
    given = make(
        {
            extensions.VOLUMES: "- name: ca\n  configMap: {name: home-ca}",
            extensions.VOLUME_MOUNTS: "- {name: ca, mountPath: /etc/home-ca, readOnly: true}",
            extensions.ENV_FROM: "[{secretRef: {name: proxy-env}}]",
        }
    )
    found = apply(given)
    assert pod_of(found)["volumes"] == [
        *pod_of(KERNEL)["volumes"],
        {"name": "ca", "configMap": {"name": "home-ca"}},
    ]
    assert main_of(found)["volumeMounts"][-1] == {"name": "ca", "mountPath": "/etc/home-ca", "readOnly": True}
    assert main_of(found)["envFrom"] == [{"secretRef": {"name": "proxy-env"}}]


def test_a_patch_merges_adds_and_takes_away() -> None:
    given = patch(
        metadata={"labels": {"team": "a"}, "annotations": {names.APPLIED: "no"}},
        spec={
            "terminationGracePeriodSeconds": 60,
            "containers": [
                {"name": "tailscale", "readinessProbe": {"periodSeconds": 9}, "resources": None},
                {"name": "logs", "image": "example.org/logs"},
            ],
        },
    )
    found = apply(given)
    assert found["spec"]["template"]["metadata"]["labels"]["team"] == "a"
    assert names.APPLIED not in found["spec"]["template"]["metadata"]["annotations"]
    assert pod_of(found)["terminationGracePeriodSeconds"] == 60
    assert main_of(found)["readinessProbe"] == {**main_of(KERNEL)["readinessProbe"], "periodSeconds": 9}
    assert "resources" not in main_of(found)
    assert pod_of(found)["containers"][1] == {"name": "logs", "image": "example.org/logs"}


def test_a_patch_cannot_take_what_the_proxy_needs() -> None:
    given = patch(
        spec={
            "serviceAccountName": "admin",
            "serviceAccount": "admin",
            "volumes": [{"name": "config", "secret": {"secretName": "other"}}, {"$patch": "replace"}],
            "initContainers": None,
            "containers": [
                {
                    "name": "tailscale",
                    "volumeMounts": [{"$patch": "delete", "mountPath": main_of(KERNEL)["volumeMounts"][0]["mountPath"]}],
                    "env": [{"name": "TS_KUBE_SECRET", "value": "other"}, {"name": "POD_NAME", "$patch": "delete"}],
                }
            ],
        }
    )  # fmt: skip
    found = apply(given)
    assert pod_of(found)["serviceAccountName"] == pod_of(KERNEL)["serviceAccountName"]
    assert "serviceAccount" not in pod_of(found)
    for field in ("volumes", "initContainers"):
        assert pod_of(found)[field] == pod_of(KERNEL)[field]
    assert main_of(found)["volumeMounts"] == main_of(KERNEL)["volumeMounts"]
    assert env_of(found) == env_of(KERNEL)


@pytest.mark.parametrize(
    ("base", "change", "merged"),
    [
        ({"a": 1, "b": 2}, {"a": None, "c": {"d": None, "e": 3}}, {"b": 2, "c": {"e": 3}}),
        ({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "$patch": "delete"}]}, {"env": []}),
        ({"env": [{"name": "A"}]}, {"env": [{"$patch": "replace"}, {"name": "B"}]}, {"env": [{"name": "B"}]}),
        ({"tmp": {"a": 1}}, {"tmp": {"$patch": "replace", "b": 2}}, {"tmp": {"b": 2}}),
        (
            {"ports": [{"containerPort": 53, "name": "tcp"}]},
            {"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "hostPort": 5}]},
            {
                "ports": [
                    {"containerPort": 53, "name": "tcp", "hostPort": 5},
                    {"containerPort": 53, "protocol": "UDP"},
                ]
            },
        ),
    ],
)
def test_a_merge_follows_the_rules_of_the_strategic_patch(base: Any, change: Any, merged: Any) -> None:
    before = json.dumps([base, change])
    assert merge.merge(base, change) == merged
    assert json.dumps([base, change]) == before


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        (extensions.VOLUMES, "a: [", "it is not YAML (line 1)"),
        (extensions.VOLUMES, "[&a {name: x}, *a]", "it has YAML aliases"),
        (extensions.VOLUMES, "name: ca", "Expected `array`, got `object`"),
        (extensions.VOLUMES, "[{name: ca, configmap: {name: x}}]", "no field [0].configmap is known"),
        (extensions.VOLUME_MOUNTS, "[{name: ca}]", "missing required field `mountPath`"),
        (extensions.ENV_FROM, "[{secretRef: x}]", "Expected `object | null`, got `str`"),
        (extensions.POD_PATCH, "spec: {containers: [{image: x}]}", "missing required field `name`"),
        (extensions.POD_PATCH, "spec: {container: []}", "no field spec.container is known"),
        (extensions.POD_PATCH, "metadata: {name: x}", "unknown field `name`"),
        (extensions.POD_PATCH, "metadata: {labels: {a: 1}}", "Expected `str | null`, got `int`"),
        (extensions.POD_PATCH, "spec: {$retainKeys: [a]}", "$retainKeys is no directive"),
        (extensions.POD_PATCH, "spec: {dnsConfig: {$patch: delete}}", "$patch: delete is no directive"),
        (extensions.POD_PATCH, "? [a]\n: b", "it is not YAML"),
    ],
)
def test_a_broken_annotation_is_told_with_how_to_write_it(key: str, text: str, told: str) -> None:
    found, problems = extensions.read({key: text})
    assert found == extensions.Extensions()
    assert len(problems) == 1
    assert problems[0].startswith(f"annotation {key}: ")
    assert told in problems[0]
    assert problems[0].endswith(f"write {extensions.EXAMPLES[key]}")


def test_the_examples_that_are_told_can_be_read() -> None:
    texts = {key: text.split("`")[1] for key, text in extensions.EXAMPLES.items()}
    found, problems = extensions.read(texts)
    assert not problems
    assert all((found.volumes, found.mounts, found.env_from, found.patch))


# What holds whatever the class says.

KEYS = st.sampled_from(
    [
        "team",
        names.APP,
        names.MANAGED,
        names.PARENT_NAME,
        names.LAST_CLUSTER_IP,
        names.REFRESH,
        "tailrace.dev/x",
    ]
)
VALUES = st.sampled_from(["", "a", "b"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=4)
VARIABLES = [
    "A",
    "B",
    "POD_NAME",
    "TS_KUBE_SECRET",
    "TS_USERSPACE",
    "TS_DEBUG_ADDR_PORT",
    "TS_TAILSCALED_EXTRA_ARGS",
]
ENV = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(VARIABLES), "value": st.sampled_from(["", "x", "$(A)", "$(POD_NAME)"])}
    ),
    max_size=5,
)
NAMES = st.sampled_from(["config", "tmp", "ca", "tailscale", "sysctler", "other"])
PATHS = st.sampled_from(["/tmp", "/ca", main_of(KERNEL)["volumeMounts"][0]["mountPath"]])
CONTAINERS = st.fixed_dictionaries(
    {},
    optional={
        "env": ENV,
        "image": VALUES,
        "securityContext": st.sampled_from([{}, {"privileged": True}]),
        "resources": st.sampled_from([{}, {"limits": {"cpu": 1}}, {"claims": [{"name": "c"}]}]),
        "debug": st.fixed_dictionaries({"enable": st.booleans()}),
    },
)
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
PODS = st.fixed_dictionaries(
    {},
    optional={
        "labels": LABELS,
        "annotations": LABELS,
        "tailscaleContainer": CONTAINERS,
        "tailscaleInitContainer": CONTAINERS,
        "imagePullSecrets": st.lists(st.fixed_dictionaries({"name": VALUES}), max_size=3),
        "topologySpreadConstraints": st.lists(st.just(SPREAD), max_size=3),
        "nodeSelector": LABELS,
        "securityContext": st.sampled_from([{}, {"fsGroup": 1}]),
        "priorityClassName": VALUES,
    },
)
MOUNTS = st.lists(st.fixed_dictionaries({"name": NAMES, "mountPath": PATHS}), max_size=3)
VOLUMES = st.lists(
    st.fixed_dictionaries({"name": NAMES, "secret": st.just({"secretName": "mine"})}), max_size=3
)


def changed(items: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[Any]:
    """A list in a patch: some items taken away, some lists replaced, some gone."""
    directive = st.sampled_from([{}, {}, {"$patch": "delete"}])
    marked = st.tuples(items, directive).map(lambda pair: [{**item, **pair[1]} for item in pair[0]])
    replaced = items.map(lambda found: [{"$patch": "replace"}, *found])
    return st.one_of(items, marked, replaced, st.none())


PATCHED = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "env": changed(ENV),
            "volumeMounts": changed(MOUNTS),
            "image": st.sampled_from(["x", None]),
            "ports": st.lists(
                st.fixed_dictionaries({"containerPort": st.sampled_from([9001, 9002])}), max_size=3
            ),
        },
    ),
    max_size=3,
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={"labels": st.dictionaries(KEYS, VALUES | st.none(), max_size=4), "annotations": LABELS},
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "$patch": st.just("replace"),
                "serviceAccountName": VALUES,
                "volumes": changed(VOLUMES),
                "containers": changed(PATCHED),
                "initContainers": changed(PATCHED),
                "nodeSelector": st.sampled_from([None, {"a": None}, {"$patch": "replace", "b": "c"}]),
            },
        ),
    },
)
CLASSES = st.builds(
    lambda sts, metrics, volumes, mounts, change: make(
        {extensions.VOLUMES: volumes, extensions.VOLUME_MOUNTS: mounts, extensions.POD_PATCH: change},
        statefulSet=sts,
        metrics={"enable": metrics},
    ),
    st.fixed_dictionaries({}, optional={"labels": LABELS, "annotations": LABELS, "pod": PODS}),
    st.booleans(),
    VOLUMES,
    MOUNTS,
    PATCHES,
)
BASES = st.sampled_from([KERNEL, USERSPACE])
PROXIES = st.sampled_from(list(ProxyType))


@settings(max_examples=100, deadline=None)
@given(given=CLASSES)
def test_the_classes_that_are_tried_are_valid(given: ProxyClass) -> None:
    """Otherwise the laws below would say little."""
    assert extensions.read(given.metadata.annotations)[1] == ()


@settings(max_examples=100, deadline=None)
@given(given=CLASSES, base=BASES, proxy=PROXIES)
def test_what_is_ours_stays_ours(given: ProxyClass, base: dict[str, Any], proxy: ProxyType) -> None:
    found = apply(given, base, proxy)
    for ours, theirs in (
        (base["metadata"], found["metadata"]),
        (base["spec"]["template"]["metadata"], found["spec"]["template"]["metadata"]),
    ):
        for kind in ("labels", "annotations"):
            before, after = ours.get(kind, {}), theirs.get(kind, {})
            assert {k: v for k, v in after.items() if overlay.is_protected(k)} == {
                k: v for k, v in before.items() if overlay.is_protected(k)
            }
            assert after.get(names.APP) == before[names.APP] if names.APP in before else True
    assert {**found["spec"], "template": 0} == {**base["spec"], "template": 0}
    assert pod_of(found)["serviceAccountName"] == pod_of(base)["serviceAccountName"]
    for volume in pod_of(base)["volumes"]:
        assert volume in pod_of(found)["volumes"]
    for field in ("containers", "initContainers"):
        after = {each["name"]: each for each in pod_of(found).get(field, [])}
        for each in pod_of(base).get(field, []):
            assert all(mount in after[each["name"]]["volumeMounts"] for mount in each.get("volumeMounts", []))
            main = each["name"] == overlay.CONTAINER
            kept = [v for v in each.get("env", []) if main and v["name"] in overlay.PROTECTED_ENV]
            assert all(variable in after[each["name"]]["env"] for variable in kept)


@settings(max_examples=100, deadline=None)
@given(given=CLASSES, base=BASES, proxy=PROXIES)
def test_applying_twice_is_applying_once(given: ProxyClass, base: dict[str, Any], proxy: ProxyType) -> None:
    before = json.dumps(base)
    once = apply(given, base, proxy)
    assert apply(given, once, proxy) == once
    assert json.dumps(base) == before


@settings(max_examples=100, deadline=None)
@given(given=CLASSES, base=BASES, proxy=PROXIES)
def test_no_list_has_a_key_twice(given: ProxyClass, base: dict[str, Any], proxy: ProxyType) -> None:
    """Server-side apply refuses a list that is told apart by keys and has one twice."""

    def check(value: Any, field: str = "") -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                check(inner, key)
        elif isinstance(value, list):
            keys = [merge.key_of(item, field) for item in value] if field in merge.KEYS else []
            assert len(keys) == len(set(keys)), field
            for item in value:
                check(item)

    check(apply(given, base, proxy))


@pytest.mark.parametrize("base", [KERNEL, USERSPACE], ids=["kernel", "userspace"])
def test_what_is_called_ours_is_what_we_build(base: dict[str, Any]) -> None:
    assert {volume["name"] for volume in pod_of(base)["volumes"]} <= overlay.OWN_VOLUMES
    assert all(mount["mountPath"].startswith(overlay.OWN_PATHS) for mount in main_of(base)["volumeMounts"])
    assert main_of(base)["name"] == overlay.CONTAINER
    assert {each["name"] for each in pod_of(base).get("initContainers", [])} <= {overlay.INIT_CONTAINER}
    assert proxyclass.METRICS_PORT == statefulset.HEALTH_PORT
