"""Connector, ProxyClass and Tailnet: what an API server takes, fills in, drops and refuses, with its words.

Each case of the catalogue says what it shows and, where the object must be refused, a part of the sentence; the whole
answer is in the record. The kinds are defined in a group of the talk's own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from tailrace.api import connector, crd, definitions, proxyclass, tailnet
from tests.contract.kubernetes.talk import Doc, Talk

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
_ROUTES = {"subnetRouter": {"advertiseRoutes": ["10.0.0.0/8"]}}


class Case(NamedTuple):
    shows: str
    spec: Any
    refused: str = ""
    """A part of the message; empty where the object is taken."""


CONNECTORS = (
    Case("a subnet router", _ROUTES),
    Case(
        "IPv6, 4via6, host bits and the same route twice",
        {
            "subnetRouter": {
                "advertiseRoutes": ["fd7a:115c:a1e0:b1a:0:7:a01:100/120", "::/0", "10.0.0.1/8", "10.0.0.1/8"]
            }
        },
    ),
    Case("an exit node", {"exitNode": True}),
    Case("a subnet router that is an exit node", _ROUTES | {"exitNode": True}),
    Case("an app connector", {"appConnector": {}}),
    Case("an app connector with routes", {"appConnector": {"routes": ["192.0.2.0/24"]}}),
    Case("an app connector that is said to be no exit node", {"appConnector": {}, "exitNode": False}),
    Case("the shortest hostname", {"exitNode": True, "hostname": "ab"}),
    Case("the longest hostname", {"exitNode": True, "hostname": "a" * 63}),
    Case("a hostname for one replica", {"exitNode": True, "hostname": "exit", "replicas": 1}),
    Case("a hostname for no replica", {"exitNode": True, "hostname": "exit", "replicas": 0}),
    Case("a prefix for several replicas", {"exitNode": True, "hostnamePrefix": "exit", "replicas": 3}),
    Case("the shortest prefix", {"exitNode": True, "hostnamePrefix": "a"}),
    Case(
        "the longest prefix, which may end with a dash", {"exitNode": True, "hostnamePrefix": "a" * 61 + "-"}
    ),
    Case("the most replicas", {"exitNode": True, "replicas": 2147483647}),
    Case("tags", {"exitNode": True, "tags": ["tag:k8s", "tag:Prod-1"]}),
    Case("no tags", {"exitNode": True, "tags": []}),
    Case("names that nobody checks here", {"exitNode": True, "proxyClass": "No Name", "tailnet": ""}),
    Case(
        "unknown fields are dropped",
        {"exitNode": True, "more": 1, "subnetRouter": {"advertiseRoutes": ["10.0.0.0/8"], "mode": "fast"}},
    ),
    Case("nothing is asked for", {}, "A Connector needs to have at least one of exit node"),
    Case(
        "nothing but no exit node", {"exitNode": False}, "A Connector needs to have at least one of exit node"
    ),
    Case("a spec that is none", "text", "spec in body must be of type object"),
    Case("a spec that is null", None, "spec: Required value"),
    Case(
        "an app connector that is an exit node", {"appConnector": {}, "exitNode": True}, "mutually exclusive"
    ),
    Case("an app connector that is a subnet router", _ROUTES | {"appConnector": {}}, "mutually exclusive"),
    Case(
        "a subnet router without routes", {"subnetRouter": {}}, "spec.subnetRouter.advertiseRoutes: Required"
    ),
    Case("a subnet router with no route", {"subnetRouter": {"advertiseRoutes": []}}, "at least 1 items"),
    Case("an app connector with no route", {"appConnector": {"routes": []}}, "at least 1 items"),
    *(
        Case(f"the route {route!r}", {"subnetRouter": {"advertiseRoutes": ["10.0.0.0/8", route]}}, refused)
        for route, refused in (
            ("10.0.0.0", "must be of type cidr"),
            ("10.0.0.0/33", "must be of type cidr"),
            ("10.0.0/8", "must be of type cidr"),
            ("300.0.0.0/8", "must be of type cidr"),
            ("010.0.0.0/8", ""),
            ("10.0.0.0/08", ""),
            ("::/129", "must be of type cidr"),
            ("::ffff:10.0.0.0/104", ""),
            ("fe80::1%eth0/64", "must be of type cidr"),
            (" 10.0.0.0/8", "must be of type cidr"),
            ("example.com", "must be of type cidr"),
            ("", "must be of type cidr"),
            (10, "must be of type cidr"),
            (True, "must be of type cidr"),
            (["10.0.0.0/8"], ""),
            (None, "must be of type string"),
        )
    ),
    Case("an app connector's route", {"appConnector": {"routes": ["example.com"]}}, "must be of type cidr"),
    *(
        Case(f"the hostname {name!r}", {"exitNode": True, "hostname": name}, "should match '^[a-z0-9]")
        for name in ("", "a", "-ab", "ab-", "Ab", "a.b", "a_b", "a" * 64)
    ),
    *(
        Case(f"the prefix {name!r}", {"exitNode": True, "hostnamePrefix": name}, "should match '^[a-z0-9]")
        for name in ("", "-a", "A", "a.b", "a" * 63)
    ),
    Case(
        "a hostname for two",
        {"exitNode": True, "hostname": "exit", "replicas": 2},
        "cannot be specified when replicas is greater than 1",
    ),
    Case(
        "hostname and prefix",
        {"exitNode": True, "hostname": "exit", "hostnamePrefix": "exit"},
        "hostname and hostnamePrefix fields are mutually exclusive",
    ),
    *(
        Case(f"{count!r} replicas", {"exitNode": True, "replicas": count}, refused)
        for count, refused in (
            (-1, "greater than or equal to 0"),
            (1.5, "must be of type integer"),
            ("2", "must be of type integer"),
            (2147483648, "must be of type integer with format int32"),
            (True, "must be of type int32"),
        )
    ),
    *(
        Case(f"the tag {tag!r}", {"exitNode": True, "tags": ["tag:k8s", tag]}, "should match '^tag:")
        for tag in ("", "prod", "tag:", "tag:1a", "tag:a_b", "Tag:a")
    ),
    Case("tags that are no list", {"exitNode": True, "tags": "tag:k8s"}, "must be of type array"),
    Case("an exit node that is a text", {"exitNode": "yes"}, "must be of type boolean"),
    Case("a tailnet that is a number", {"exitNode": True, "tailnet": 5}, "must be of type string"),
    Case(
        "several things at once; what breaks a pattern keeps no rule from being asked",
        {"exitNode": True, "hostname": "exit", "hostnamePrefix": "exit", "tags": ["a", "b"]},
        "spec.tags[1]",
    ),
    Case(
        "several rules at once",
        _ROUTES | {"appConnector": {}, "hostname": "exit", "hostnamePrefix": "exit", "replicas": 2},
        "mutually exclusive",
    ),
)

_AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchFields": [{"key": "a", "operator": "Exists"}]}}
        ],
    },
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}, "namespaces": ["x"]}
        ]
    },
}


def _pod(**fields: Any) -> Doc:
    return {"statefulSet": {"pod": fields}}


def _container(**fields: Any) -> Doc:
    return _pod(tailscaleContainer=fields)


def _ports(*ports: Any) -> Doc:
    return {"staticEndpoints": {"nodePort": {"ports": list(ports)}}}


PROXY_CLASSES = (
    Case("nothing is asked for", {}),
    Case(
        "labels and annotations",
        {
            "statefulSet": {
                "labels": {"a": "b", "empty": ""},
                "annotations": {"a": "any text"},
                "pod": {"labels": {"a.example/b": "B_1.x"}, "annotations": {"a": ""}},
            }
        },
    ),
    Case("affinity", _pod(affinity=_AFFINITY)),
    Case("unknown fields are dropped, deep down too", _pod(affinity={"nodeAffinity": {"new": 1}}, more=1)),
    Case(
        "the rest of a pod",
        _pod(
            securityContext={"runAsUser": 1000, "fsGroup": 1000, "sysctls": [{"name": "a", "value": "1"}]},
            imagePullSecrets=[{"name": "pull"}],
            nodeName="node-1",
            nodeSelector={"a": "b"},
            tolerations=[{"key": "a", "operator": "Exists", "tolerationSeconds": 30}],
            topologySpreadConstraints=[
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            priorityClassName="high",
            dnsPolicy="None",
            dnsConfig={"nameservers": ["192.0.2.1"], "options": [{"name": "ndots", "value": "1"}]},
        ),
    ),
    Case(
        "empty is not left out",
        _pod(tolerations=[], nodeSelector={}, securityContext={}, imagePullSecrets=[]),
    ),
    Case(
        "a container",
        _container(
            env=[{"name": "A", "value": "b"}, {"name": "-._a"}],
            image="example.com/tailscale:1",
            imagePullPolicy="IfNotPresent",
            resources={"requests": {"cpu": "100m", "memory": 1000}, "limits": {"memory": "1Gi"}},
            securityContext={"privileged": False, "capabilities": {"add": ["NET_ADMIN"]}},
            debug={"enable": True},
        ),
    ),
    Case("an init container", _pod(tailscaleInitContainer={"image": "example.com/tailscale:1"})),
    Case("metrics", {"metrics": {"enable": True}}),
    Case(
        "a monitor", {"metrics": {"enable": True, "serviceMonitor": {"enable": True, "labels": {"a": "b"}}}}
    ),
    Case("neither", {"metrics": {"enable": False, "serviceMonitor": {"enable": False}}}),
    Case("routes are accepted", {"tailscale": {"acceptRoutes": True}}),
    Case("a staging environment", {"useLetsEncryptStagingEnvironment": True}),
    Case(
        "static endpoints",
        {"staticEndpoints": {"nodePort": {"ports": [{"port": 30000}], "selector": {"a": "b"}}}},
    ),
    Case("a range of ports", _ports({"port": 30000, "endPort": 30010})),
    Case("a range that ends before it begins", _ports({"port": 30010, "endPort": 30000})),
    Case("a spec that is null", None, "spec: Required value"),
    Case("a label that is none", {"statefulSet": {"labels": {"a": "-b"}}}, "should match"),
    Case(
        "a label too long", {"statefulSet": {"labels": {"a": "b" * 64}}}, "Too long: may not be more than 63"
    ),
    Case("a pod's label", _pod(labels={"a": "b c"}), "should match"),
    Case("a label that is a number", _pod(labels={"a": 1}), "must be of type string"),
    Case(
        "a monitor's label",
        {"metrics": {"enable": True, "serviceMonitor": {"enable": True, "labels": {"a": "!"}}}},
        "should match",
    ),
    Case(
        "an annotation that is a number", {"statefulSet": {"annotations": {"a": 1}}}, "must be of type string"
    ),
    Case("a variable's name", _container(env=[{"name": "1A"}]), "should match"),
    Case("a variable without a name", _container(env=[{"value": "a"}]), "env[0].name: Required value"),
    Case("a pull policy", _container(imagePullPolicy="Sometimes"), 'supported values: "Always", '),
    Case("a quantity", _container(resources={"limits": {"memory": "1 GB"}}), "should match"),
    Case("a quantity with a fraction", _container(resources={"limits": {"cpu": 0.5}}), "must be of type"),
    Case("a user by name", _container(securityContext={"runAsUser": "root"}), "must be of type integer"),
    Case("a DNS policy", _pod(dnsPolicy="Cluster"), "Unsupported value"),
    Case("an affinity that is a list", _pod(affinity=[]), "must be of type object"),
    Case(
        "an affinity without its terms",
        _pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
        "nodeSelectorTerms: Required value",
    ),
    Case("a spread without its bounds", _pod(topologySpreadConstraints=[{}]), "maxSkew: Required value"),
    Case("a toleration that is a text", _pod(tolerations=["a"]), "must be of type object"),
    Case("metrics without a word", {"metrics": {}}, "spec.metrics.enable: Required value"),
    Case("a monitor without a word", {"metrics": {"enable": True, "serviceMonitor": {}}}, "enable: Required"),
    Case(
        "a monitor without metrics",
        {"metrics": {"enable": False, "serviceMonitor": {"enable": True}}},
        "ServiceMonitor can only be enabled if metrics are enabled",
    ),
    Case("static endpoints without a kind", {"staticEndpoints": {}}, "nodePort: Required value"),
    Case("static endpoints without ports", {"staticEndpoints": {"nodePort": {}}}, "ports: Required value"),
    Case("no port", _ports(), "at least 1 items"),
    Case("a range without a beginning", _ports({"endPort": 30000}), "ports[0].port: Required value"),
    Case("a port too high", _ports({"port": 65536}), "less than or equal to 65535"),
    Case("a port too low", _ports({"port": -1}), "greater than or equal to 0"),
    Case("a port by name", _ports({"port": "http"}), "must be of type integer"),
    Case(
        "whether routes are accepted, as a text", {"tailscale": {"acceptRoutes": "true"}}, "of type boolean"
    ),
)

TAILNETS = (
    Case("a credential", {"credentials": {"secretName": "other-oauth"}}),
    Case("a server", {"credentials": {"secretName": "a"}, "loginUrl": "https://headscale.example.com"}),
    Case("texts that nobody checks here", {"credentials": {"secretName": ""}, "loginUrl": "no url"}),
    Case("unknown fields are dropped", {"credentials": {"secretName": "a", "key": "b"}, "more": 1}),
    Case("nothing", {}, "spec.credentials: Required value"),
    Case("a spec that is null", None, "spec: Required value"),
    Case("no Secret", {"credentials": {}}, "spec.credentials.secretName: Required value"),
    Case(
        "a Secret that is null",
        {"credentials": {"secretName": None}},
        "spec.credentials.secretName: Required value",
    ),
    Case("a Secret that is a number", {"credentials": {"secretName": 1}}, "must be of type string"),
    Case(
        "a server that is a number",
        {"credentials": {"secretName": "a"}, "loginUrl": 1},
        "must be of type string",
    ),
)


def _define(talk: Talk, *kinds: crd.Definition) -> list[str]:
    """The kinds in the talk's own group, once they are served; the paths of their objects."""
    group = f"{talk.word}.example.com"
    for kind in kinds:
        made = talk.post(_CRDS, crd.build_crd(dataclasses.replace(kind, group=group)), quiet=True)
        assert (made.code, made.headers.get_list("warning")) == (201, []), made.body
    paths = [f"/apis/{group}/{kind.version}/{kind.plural}" for kind in kinds]
    for path in paths:
        talk.wait(path, lambda answer: answer.code == 200)
    return paths


def _object(talk: Talk, kind: crd.Definition, spec: Any, **more: Any) -> Doc:
    found = {"apiVersion": f"{talk.word}.example.com/{kind.version}", "kind": kind.kind, "spec": spec}
    return found | {"metadata": {"name": "a"}} | more


def _judge(talk: Talk, kind: crd.Definition, cases: tuple[Case, ...]) -> None:
    [path] = _define(talk, kind)
    wrong = []
    for case in cases:
        made = talk.post(path, _object(talk, kind, case.spec), dryRun="All", show=("spec",), note=case.shows)
        told = made.body.get("message", "")
        if (made.code == 201) == bool(case.refused) or case.refused not in told:
            wrong.append((case.shows, made.code, told))
    assert wrong == [], wrong


def definitions_are_established_as_they_are(talk: Talk) -> None:
    """Structural, names accepted, nothing warned of, nothing dropped, and read back as they were written."""
    _define(talk, *definitions.ALL)
    for kind in definitions.ALL:
        name = f"{_CRDS}/{kind.plural}.{talk.word}.example.com"
        shown = ("status.conditions.type", "status.conditions.status", "status.acceptedNames", "spec.scope")
        live = talk.get(name, show=shown).body["spec"]
        wanted = crd.build_crd(dataclasses.replace(kind, group=f"{talk.word}.example.com"))["spec"]
        talk.note(kept={key: live[key] == value for key, value in wanted.items()})


def connectors(talk: Talk) -> None:
    _judge(talk, connector.DEFINITION, CONNECTORS)


def proxy_classes(talk: Talk) -> None:
    _judge(talk, proxyclass.DEFINITION, PROXY_CLASSES)


def tailnets(talk: Talk) -> None:
    _judge(talk, tailnet.DEFINITION, TAILNETS)


def unknown_fields_are_told_where_that_is_asked(talk: Talk) -> None:
    """kubectl asks: `--validate` is strict by default."""
    specs: tuple[Doc, ...] = (
        _ROUTES | {"routes": []},
        _pod(affinity={"nodeAffinity": {"new": 1}}, nodename="a"),
        {"credentials": {"secretName": "a"}, "loginURL": "b"},
    )
    for kind, path, spec in zip(definitions.ALL, _define(talk, *definitions.ALL), specs, strict=True):
        for how in ("Strict", "Warn"):
            talk.post(path, _object(talk, kind, spec), dryRun="All", fieldValidation=how, show=("spec",))


def a_connector_keeps_its_tailnet(talk: Talk) -> None:
    """A rule about a change is asked only where the field was and is: it may come, and it may go."""
    [path] = _define(talk, connector.DEFINITION)
    shown = ("spec", "metadata.generation")
    talk.post(path, _object(talk, connector.DEFINITION, {"exitNode": True, "tailnet": "one"}), show=shown)
    talk.patch(f"{path}/a", {"spec": {"tailnet": "two"}})
    talk.patch(f"{path}/a", {"spec": {"tailnet": ""}})
    talk.patch(f"{path}/a", {"spec": {"tailnet": "one", "replicas": 2}}, show=shown)
    talk.put(f"{path}/a", _object(talk, connector.DEFINITION, {"exitNode": True, "tailnet": "two"}))
    talk.patch(f"{path}/a", {"spec": {"tailnet": None}}, show=shown)
    talk.patch(f"{path}/a", {"spec": {"tailnet": "two"}}, show=shown)
    talk.apply(f"{path}/a", _object(talk, connector.DEFINITION, {"tailnet": "three"}), force="true")


def a_connector_changes_what_it_is(talk: Talk) -> None:
    [path] = _define(talk, connector.DEFINITION)
    shown = ("spec", "metadata.generation")
    talk.post(path, _object(talk, connector.DEFINITION, _ROUTES), show=shown)
    talk.patch(f"{path}/a", {"spec": {"appConnector": {}}})
    talk.patch(f"{path}/a", {"spec": {"appConnector": {}, "subnetRouter": None}}, show=shown)
    talk.patch(f"{path}/a", {"spec": {"appConnector": None, "exitNode": True}}, show=shown)
    talk.patch(f"{path}/a", {"spec": {"exitNode": None}})
    talk.patch(f"{path}/a", {"spec": {"exitNode": False}})
    talk.patch(f"{path}/a", {"spec": {"replicas": 3, "hostname": "exit"}})
    talk.patch(f"{path}/a", {"spec": {"tags": ["tag:a"]}}, show=shown)
    talk.patch(f"{path}/a", {"spec": {"tags": ["tag:b", "b"]}})


def conditions_belong_to_who_writes_them(talk: Talk) -> None:
    """The list is told apart by type; spec and status are apart; what is no condition is refused."""
    [path] = _define(talk, connector.DEFINITION)
    good = {
        "type": "ConnectorReady",
        "status": "True",
        "reason": "ConnectorCreated",
        "message": "",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    made = _object(talk, connector.DEFINITION, {"exitNode": True}, status={"isExitNode": True})
    talk.post(path, made, show=("spec", "status", "metadata.generation"))

    def status(**fields: Any) -> Doc:
        return _object(talk, connector.DEFINITION, {"exitNode": False}, status=fields)

    shown = ("spec", "status", "metadata.generation")
    told = status(
        conditions=[good, good | {"type": "Online", "observedGeneration": 1}],
        subnetRoutes="10.0.0.0/8,fd00::/8",
        isExitNode=True,
        tailnetIPs=["100.64.0.1"],
        hostname="a.tail.ts.net",
        devices=[{"hostname": "a.tail.ts.net", "tailnetIPs": ["100.64.0.1"]}],
    )
    del told["spec"]
    talk.apply(f"{path}/a/status", told, "one", show=shown)
    other = status(conditions=[good | {"type": "example.com/Seen"}])
    del other["spec"]
    talk.apply(f"{path}/a/status", other, "two", show=shown)
    other["status"]["more"] = 1
    talk.apply(f"{path}/a/status", other, "two", note="a field that is none")
    for wrong in (
        {"type": "not good"},
        {"type": ""},
        {"type": None},
        {"status": "true"},
        {"status": True},
        {"reason": ""},
        {"reason": "has a space"},
        {"reason": None},
        {"message": None},
        {"message": "x" * 32769},
        {"lastTransitionTime": "yesterday"},
        {"lastTransitionTime": None},
        {"observedGeneration": -1},
        {"observedGeneration": "1"},
    ):
        body = {"status": {"conditions": [{k: v for k, v in (good | wrong).items() if v is not None}]}}
        refused = talk.patch(f"{path}/a/status", body, note=str(wrong)[:60], show=shown)
        assert refused.code == 422, (wrong, refused)
    talk.patch(f"{path}/a/status", {"status": {"conditions": [good, good]}})


def columns_tell_how_it_stands(talk: Talk) -> None:
    condition = {"status": "True", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}
    shown = (
        "columnDefinitions.name",
        "columnDefinitions.type",
        "columnDefinitions.format",
        "columnDefinitions.priority",
    )
    shapes: tuple[tuple[Doc, Doc], ...] = (
        (_ROUTES, {"subnetRoutes": "10.0.0.0/8,fd00::/8", "isExitNode": True, "isAppConnector": False}),
        ({}, {}),
        ({"credentials": {"secretName": "a"}}, {}),
    )
    paths = _define(talk, *definitions.ALL)
    for kind, path, (spec, status) in zip(definitions.ALL, paths, shapes, strict=True):
        talk.post(path, _object(talk, kind, spec), quiet=True)
        fresh = talk.get(path, headers=_TABLE, show=shown)
        told = [condition | {"type": f"{kind.kind}Ready", "reason": f"{kind.kind}Good"}]
        talk.patch(f"{path}/a/status", {"status": status | {"conditions": told}}, quiet=True)
        ready = talk.get(path, headers=_TABLE, quiet=True)
        age = next(i for i, c in enumerate(fresh.body["columnDefinitions"]) if c["name"] == "Age")
        for answer in (fresh, ready):
            cells = answer.body["rows"][0]["cells"]
            talk.note(cells=[cell for i, cell in enumerate(cells) if i != age])
