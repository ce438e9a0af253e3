"""What is said and done about an egress: a table of worlds."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tailrace import errors
from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType
from tailrace.api.proxyclass import ProxyClass, Spec, Tailscale
from tailrace.fleet.claims import Claim
from tailrace.fleet.ranges import Range
from tailrace.fleet.world import Admission, Children, Class, Tailnet
from tailrace.kinds.egress import decide, failure, original, request, target
from tailrace.kinds.egress.inputs import Inputs
from tailrace.plan import ops
from tailrace.proxy import secret
from tailrace.tailnet.port import Device, DeviceId
from tests.support.world import INSTALL

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LAN, PRINTER = "192.168.1.0/24", "192.168.1.20"
OWN = (Range("10.244.0.0/16", "pods"), Range("10.96.0.0/12", "Services"))
MAPPED = "fd7a:115c:a1e0:b1a:0:7:c0a8:0/112"


def device(name: str, *, online: bool = True, domain: str | None = "lab.example", **more: Any) -> Device:
    values = {"addresses": ("100.64.0.9", "fd7a:115c:a1e0::9"), "tags": (), **more}
    return Device(
        id=DeviceId(name),
        name=name,
        hostname=name,
        fqdn=f"{name}.{domain}" if domain else None,
        online=online,
        last_seen=None if online else NOW,
        **values,
    )


def router(name: str = "gate", *, enabled: tuple[str, ...] = (LAN,), **more: Any) -> Device:
    values = {"advertised_routes": (LAN,), "addresses": ("100.64.0.1",), "tags": ("tag:gate",), **more}
    return device(name, enabled_routes=enabled, **values)


def proxy_class(*, accepts: bool) -> Class:
    spec = Spec(tailscale=Tailscale(acceptRoutes=accepts))
    return Class(found=ProxyClass(metadata=kube.ObjectMeta(name="routes"), spec=spec))


def build(
    notes: dict[str, str], *devices: Device, spec: kube.ServiceSpec | None = None, **more: Any
) -> Inputs:
    service = kube.Service(
        metadata=kube.ObjectMeta(name="far", namespace="demo", uid="u", annotations=notes),
        spec=spec or kube.ServiceSpec(type="ExternalName", externalName="unused"),
    )
    values: dict[str, Any] = {
        "tailnet": Tailnet(known=True, devices=devices, can_route=True),
        "admission": Admission(privileged=True),
        **more,
    }
    return Inputs(namespace="demo", name="far", install=INSTALL, service=service, now=NOW, **values)


def to(where: str) -> dict[str, str]:
    key = names.TAILNET_IP if where[:1].isdigit() or ":" in where else names.TAILNET_FQDN
    return {key: where}


def judge(i: Inputs) -> Claim:
    assert i.service is not None
    wish = request.read_request(i.service, i.install.defaults)
    return target.judge(decide.build_case(i, i.service, wish))


@pytest.mark.parametrize(
    ("where", "devices", "accepts", "reason", "parts"),
    [
        ("db.lab.example", [device("db")], None, "TargetConnected", ["db.lab.example (100.64.0.9"]),
        ("DB.lab.example.", [device("db")], None, "TargetConnected", []),
        ("db.lab.example", [device("db", domain=None)], None, "TargetConnected", []),
        ("db.lab.example", [device("DB")], None, "TargetConnected", []),
        (
            "db.lab.example",
            [device("db", online=False)],
            None,
            "TargetOffline",
            ["since 2026-01-01 00:00 UTC"],
        ),
        ("db.lab.example", [], None, "TargetNotFound", ['called "db.lab.example"']),
        ("dbb.lab.example", [device("db")], None, "TargetNotFound", ['there is "db.lab.example"']),
        (
            "db.other.net",
            [device("db")],
            None,
            "TargetNotFound",
            ['base domain "other.net"', '"db.lab.example"'],
        ),
        ("100.64.0.9", [device("db")], None, "TargetConnected", []),
        ("fd7a:115c:a1e0::9", [device("db")], None, "TargetConnected", []),
        ("100.64.0.8", [device("db")], None, "TargetNotFound", ["address 100.64.0.8"]),
        (PRINTER, [router()], True, "RouteServed", ["gate.lab.example", LAN]),
        (PRINTER, [router()], False, "RouteNotAccepted", ['ProxyClass "routes"', "acceptRoutes: true"]),
        (PRINTER, [router()], None, "RouteNotAccepted", ["has no ProxyClass", names.PROXY_CLASS]),
        (PRINTER, [], True, "NoRouter", ["--advertise-routes=192.168.1.0/24"]),
        (PRINTER, [], None, "RouteNotAccepted", ["; and no device of the tailnet advertises"]),
        (
            PRINTER,
            [router(enabled=())],
            True,
            "RouteNotApproved",
            [
                "approve it in the admin console",
                '{"autoApprovers": {"routes": {"192.168.1.0/24": ["tag:gate"]}}}',
            ],
        ),
        (
            PRINTER,
            [router("7", enabled=())],
            True,
            "RouteNotApproved",
            ["`headscale nodes approve-routes --identifier 7 --routes 192.168.1.0/24`"],
        ),
        (
            PRINTER,
            [router("7", enabled=("10.9.0.0/24",))],
            True,
            "RouteNotApproved",
            ["--routes 10.9.0.0/24,192.168.1.0/24`"],
        ),
        (PRINTER, [router(enabled=(), online=False)], True, "RouteNotApproved", ["not connected either"]),
        (PRINTER, [router(online=False)], True, "RouterOffline", ["gate.lab.example", "since"]),
        (
            PRINTER,
            [router(online=False)],
            False,
            "RouteNotAccepted",
            ["does not accept", "; and the router gate"],
        ),
        (PRINTER, [router(advertised_routes=())], True, "NoRouter", ["does not advertise it"]),
        (PRINTER, [router("old", online=False), router("new")], True, "RouteServed", ["new.lab.example"]),
        (
            PRINTER,
            [router(advertised_routes=("0.0.0.0/0",), enabled=("0.0.0.0/0",))],
            True,
            "NoRouter",
            [],
        ),
        (
            PRINTER,
            [
                router("near", online=False),
                router("wide", advertised_routes=("192.168.0.0/16",), enabled=("192.168.0.0/16",)),
            ],
            True,
            "RouterOffline",
            ["near.lab.example"],
        ),
        (
            PRINTER,
            [
                router("near", online=False, serving_routes=()),
                router("wide", advertised_routes=("192.168.0.0/16",), enabled=("192.168.0.0/16",)),
            ],
            True,
            "RouteServed",
            ["wide.lab.example"],
        ),
        (
            "fd7a:115c:a1e0:b1a:0:7:c0a8:114",
            [router(advertised_routes=(MAPPED,), enabled=(MAPPED,))],
            True,
            "RouteServed",
            [MAPPED],
        ),
        ("fd7a:115c:a1e0:b1a:0:7:c0a8:114", [], True, "NoRouter", []),
        (
            PRINTER,
            [router(advertised_routes=(LAN, "10.244.0.0/16"), enabled=(LAN, "10.244.0.0/16"))],
            True,
            "RouteLoops",
            ['ProxyClass "routes"', "Connector inner", "10.244.0.0/16", "pods"],
        ),
        (
            PRINTER,
            [router(advertised_routes=(LAN, "10.96.0.0/16"), enabled=(LAN,))],
            True,
            "RouteServed",
            [],
        ),
        (
            "db.lab.example",
            [device("db"), router(advertised_routes=("10.96.0.0/16",), enabled=("10.96.0.0/16",))],
            True,
            "RouteLoops",
            ["Services"],
        ),
        (
            "db.lab.example",
            [device("db"), router(advertised_routes=("10.96.0.0/16",), enabled=("10.96.0.0/16",))],
            None,
            "TargetConnected",
            [],
        ),
        (
            "db.lab.example",
            [device("db"), router(advertised_routes=("10.96.0.0/16",), enabled=("10.96.0.0/16",))],
            False,
            "TargetConnected",
            [],
        ),
    ],
)
def test_the_far_end(
    where: str, devices: list[Device], accepts: bool | None, reason: str, parts: list[str]
) -> None:
    """All that is missing is told, the first thing as reason, with what to do."""
    found = Class() if accepts is None else proxy_class(accepts=accepts)
    owners = {DeviceId("gate"): "Connector inner"}
    claim = judge(build(to(where), *devices, proxy_class=found, ranges=OWN, owners=owners))
    assert claim.reason == reason
    assert claim.status is (reason in {"TargetConnected", "RouteServed"})
    for part in parts:
        assert part in claim.message


def test_what_is_not_known_is_not_guessed() -> None:
    """An old list says nothing about a target; a credential that may not read routes is told."""
    stale = Tailnet(known=True, fresh=False, problem="the control plane is away")
    assert judge(build(to(PRINTER), tailnet=stale)).status is None
    blind = build(to(PRINTER), tailnet=Tailnet(known=True), proxy_class=proxy_class(accepts=True))
    assert "may not read routes" in judge(blind).message


def told(plan: ops.Plan, kind: ConditionType = ConditionType.ACCEPTED) -> tuple[str, str, str]:
    for op in plan.ops:
        if isinstance(op, ops.ApplyStatus):
            for found in op.status["conditions"]:
                if found["type"] == kind:
                    return found["status"], found["reason"], found["message"]
    return "", "", ""


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"notes": {names.TAILNET_FQDN: "db"}}, "InvalidService"),
        ({"notes": {**to("db.lab.example"), names.PROXY_GROUP: "many"}}, "NotServed"),
        ({"admission": Admission(privileged=False, refusal="violates PodSecurity")}, "ModeRefused"),
        ({"proxy_class": Class(problem='ProxyClass "routes" does not exist')}, "ProxyClassNotReady"),
        (
            {
                "notes": {**to("db.lab.example"), names.TAILNET: "lab"},
                "tailnet": Tailnet(known=False, problem='there is no Tailnet "lab"'),
            },
            "TailnetNotReady",
        ),
        ({"rivals": (kube.Service(metadata=kube.ObjectMeta(name="a", namespace="demo")),)}, "HostnameTaken"),
        (
            {"tailnet": Tailnet(known=True, namesakes=(device("demo-far"),), devices=(device("demo-far"),))},
            "NameConflict",
        ),
    ],
)
def test_a_refusal_is_said_and_nothing_touched(more: dict[str, Any], reason: str) -> None:
    notes = more.pop("notes", to("db.lab.example"))
    plan = decide.decide(build(notes, **more))
    assert told(plan)[:2] == ("False", reason)
    assert {type(op) for op in plan.ops} == {ops.ApplyStatus, ops.Emit}


def test_what_the_service_was_is_remembered_before_it_is_rewritten() -> None:
    """In one plan, in this order; and never while our finalizer does not hold it."""
    spec = kube.ServiceSpec(clusterIP="10.96.0.7", clusterIPs=("10.96.0.7",), selector={"app": "far"})
    fresh = build(to("db.lab.example"), device("db"), spec=spec)
    assert not any(isinstance(op, ops.PatchSpec) for op in decide.decide(fresh).ops)
    assert fresh.service is not None
    meta = kube.ObjectMeta(
        name="far", namespace="demo", annotations=to("db.lab.example"), finalizers=(names.FINALIZER,)
    )
    held = dataclasses.replace(fresh, service=kube.Service(metadata=meta, spec=spec))
    plan = decide.decide(held)
    kinds = [
        "remember" if isinstance(op, ops.Apply) and op.manifest["kind"] == "Service" else type(op).__name__
        for op in plan.ops
    ]
    assert kinds.index("remember") < kinds.index("PatchSpec")
    memory = next(
        op.manifest for op in plan.ops if isinstance(op, ops.Apply) and op.manifest["kind"] == "Service"
    )
    assert original.read_memory(memory["metadata"]["annotations"][names.ORIGINAL]) == spec


def test_a_move_to_another_tailnet_takes_the_last_memory_along() -> None:
    """The Secret goes with the device; if somebody deleted the headless Service, that is there again before."""
    memory = msgspec.json.encode(kube.ServiceSpec(clusterIP="10.96.0.7")).decode()
    i = build({**to("db.lab.example"), names.TAILNET: "lab"}, device("db"))
    assert i.service is not None
    led = kube.ServiceSpec(type="ExternalName", externalName=f"{i.place.name}.tailscale.svc.cluster.local")
    notes = {names.ORIGINAL: memory, names.APPLIED: "x"}
    state = secret.read(
        kube.ProxySecret(metadata=kube.ObjectMeta(name=i.place.secret_name, annotations=notes))
    )
    moved = dataclasses.replace(
        i,
        service=msgspec.structs.replace(i.service, spec=led),
        proxies={i.place.secret_name: Children(state=state)},
    )
    first, *rest = decide.decide(moved).ops
    assert isinstance(first, ops.Apply)
    assert first.manifest["metadata"]["annotations"][names.ORIGINAL] == memory
    assert [op.ref.kind for op in rest if isinstance(op, ops.Delete)] == ["Secret"]


@pytest.mark.parametrize(
    ("before", "taken", "expected"),
    [
        (
            kube.ServiceSpec(type="ExternalName", externalName="unused"),
            (),
            {"type": "ExternalName", "externalName": "unused", "selector": None},
        ),
        (
            kube.ServiceSpec(clusterIP="10.96.0.7", clusterIPs=("10.96.0.7",), selector={"a": "b"}),
            (),
            {
                "type": "ClusterIP",
                "externalName": None,
                "selector": {"a": "b"},
                "clusterIP": "10.96.0.7",
                "clusterIPs": ["10.96.0.7"],
            },
        ),
        (
            kube.ServiceSpec(clusterIP="10.96.0.7", clusterIPs=("10.96.0.7",), selector={"a": "b"}),
            ("10.96.0.7",),
            {"type": "ClusterIP", "externalName": None, "selector": {"a": "b"}},
        ),
        (
            kube.ServiceSpec(clusterIP="172.16.0.7", clusterIPs=("172.16.0.7",)),
            (),
            {"type": "ClusterIP", "externalName": None, "selector": None},
        ),
        (
            kube.ServiceSpec(
                type="NodePort", ports=(kube.ServicePort(port=80, name="http", nodePort=30080),)
            ),
            (),
            {
                "type": "NodePort",
                "externalName": None,
                "selector": None,
                "ports": [{"port": 80, "name": "http", "nodePort": 30080}],
            },
        ),
        (
            kube.ServiceSpec(
                type="NodePort", ports=(kube.ServicePort(port=80, name="http", nodePort=30080),)
            ),
            ("30080",),
            {"type": "NodePort", "externalName": None, "selector": None},
        ),
    ],
)
def test_what_is_given_back(
    before: kube.ServiceSpec, taken: tuple[str, ...], expected: dict[str, Any]
) -> None:
    """As it was, save what somebody else has now, or what no longer exists: the server gives a new one out."""
    now = kube.ServiceSpec(
        type="ExternalName",
        externalName="ts-far-x.tailscale.svc.cluster.local",
        ports=tuple(kube.ServicePort(port=p.port, name=p.name) for p in before.ports),
    )
    i = build({}, ranges=OWN, taken=frozenset(taken))
    assert original.build_return(i, before, now) == expected


def test_a_service_without_anything_of_ours_is_left_alone() -> None:
    assert decide.decide(build({})).ops == ()
    assert decide.decide(dataclasses.replace(build({}), service=None, proxies={"": Children()})).ops == ()


def test_the_pod_carries_the_addresses_of_the_name_that_it_leads_to() -> None:
    """Sorted, so that only others restart it; kept while nobody has the name; of another name not."""

    def find_template(i: Inputs) -> dict[str, Any]:
        applied = (op.manifest for op in decide.decide(i).ops if isinstance(op, ops.Apply))
        found: dict[str, Any] = next(m for m in applied if m["kind"] == "StatefulSet")["spec"]["template"]
        return found

    def read_addresses(i: Inputs) -> str:
        return str(find_template(i)["metadata"]["annotations"].get(names.TARGET_ADDRESSES, ""))

    there = build(to("db.lab.example"), device("db"))
    assert read_addresses(there) == "100.64.0.9,fd7a:115c:a1e0::9"
    turned = device("db", addresses=("fd7a:115c:a1e0::9", "100.64.0.9"))
    assert find_template(build(to("db.lab.example"), turned)) == find_template(there)
    live = kube.StatefulSet(
        metadata=kube.ObjectMeta(name="ts-far", annotations={names.APPLIED: "x"}),
        spec=msgspec.Raw(msgspec.json.encode({"template": find_template(there)})),
    )
    running = {there.place.secret_name: Children(statefulset=live)}
    assert read_addresses(build(to("db.lab.example"), proxies=running)) == "100.64.0.9,fd7a:115c:a1e0::9"
    assert read_addresses(build(to("nas.lab.example"), proxies=running)) == ""
    moved = device("db", addresses=("100.64.0.10",))
    assert read_addresses(build(to("db.lab.example"), moved, proxies=running)) == "100.64.0.10"


# --- the families of the name in the cluster -------------------------------------------------------------------

FOUR, SIX = "100.64.0.9", "fd7a:115c:a1e0::9"
BOTH = {"ipFamilyPolicy": "PreferDualStack"}
ONE = {family: {"ipFamilyPolicy": "SingleStack", "ipFamilies": [family]} for family in ("IPv4", "IPv6")}


def find_headless(plan: ops.Plan) -> dict[str, Any] | None:
    applied = (op.manifest for op in plan.ops if isinstance(op, ops.Apply))
    return next((dict(m) for m in applied if m["kind"] == "Service"), None)


def follow(where: str, *families: str, former: str) -> ops.Plan:
    """The plan for this target, when the headless Service was made for another and has these families."""
    first = build(to(former), device("db"))
    made = find_headless(decide.decide(first))
    assert made is not None
    live: kube.Service = msgspec.convert(made, kube.Service)
    live = msgspec.structs.replace(live, spec=msgspec.structs.replace(live.spec, ipFamilies=families))
    children = Children(others=(("Service", live),))
    return decide.decide(build(to(where), device("db"), proxies={first.place.secret_name: children}))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("db.lab.example", BOTH),
        (FOUR, ONE["IPv4"]),
        (SIX, ONE["IPv6"]),
        (PRINTER, ONE["IPv4"]),
        ("fd7a:115c:a1e0:b1a:0:7:c0a8:114", ONE["IPv6"]),
    ],
)
def test_the_name_has_the_families_that_are_led_on_from(where: str, expected: dict[str, Any]) -> None:
    """Of a device by its name both; of a literal address its own, or clients would ask where nobody leads on."""
    made = find_headless(decide.decide(build(to(where), device("db"))))
    assert made is not None
    assert {k: v for k, v in made["spec"].items() if k.startswith("ipFamil")} == expected


@pytest.mark.parametrize(
    ("where", "former", "families", "first"),
    [
        (FOUR, "db.lab.example", ("IPv4", "IPv6"), True),  # as an older version made it
        (SIX, "db.lab.example", ("IPv4", "IPv6"), True),
        (SIX, FOUR, ("IPv4",), True),
        (FOUR, SIX, ("IPv6",), True),
        (SIX, SIX, ("IPv4", "IPv6"), True),  # somebody changed it
        (FOUR, "db.lab.example", ("IPv4",), False),  # a cluster of one family: nothing can be refused
        ("db.lab.example", FOUR, ("IPv4",), False),
    ],
)
def test_a_family_that_a_cluster_may_lack_comes_first(
    where: str, former: str, families: tuple[str, ...], first: bool
) -> None:
    """In place, with what is remembered; the key, the device and the pod come once the cluster has taken it."""
    plan = follow(where, *families, former=former)
    made = find_headless(plan)
    assert made is not None
    assert names.ORIGINAL in made["metadata"]["annotations"]
    assert any(isinstance(op, ops.MintKey) for op in plan.ops)
    stage = [type(op) for op in plan.stages[0]]
    assert (stage == [ops.Apply]) is first


def test_a_name_that_has_its_family_is_not_written_again() -> None:
    plan = follow(SIX, "IPv6", former=SIX)
    assert find_headless(plan) is None
    assert any(isinstance(op, ops.MintKey) for op in plan.ops)


REFUSED = 'PATCH /api: 422 Service "ts-far" is invalid: spec.ipFamilies[0]: Invalid value: "{}": not configured on this cluster'


@pytest.mark.parametrize(
    ("where", "error", "part"),
    [
        (
            SIX,
            REFUSED.format("IPv6"),
            f"{names.TAILNET_IP} {SIX} is an IPv6 address, and this cluster has no IPv6",
        ),
        (FOUR, REFUSED.format("IPv4"), "or the device's name in tailscale.com/tailnet-fqdn"),
        (SIX, "PATCH /api: 422 spec.ports[0].port: Invalid value: 0", "spec.ports[0].port: Invalid value"),
        ("db.lab.example", REFUSED.format("IPv6"), "spec.ipFamilies[0]"),
    ],
)
def test_a_cluster_without_the_family_is_told_with_a_remedy(where: str, error: str, part: str) -> None:
    """Any other refusal in the server's words."""
    i = build(to(where), device("db"))
    plan = decide.decide(i) if "this cluster" in part or "fqdn" in part else ops.Plan()
    said = failure.decide_failure(i, plan, errors.Terminal(error, reason="InternalError"))
    status, reason, message = told(said, ConditionType.PROVISIONED)
    assert (status, reason) == ("False", "RefusedByCluster")
    assert part in message
