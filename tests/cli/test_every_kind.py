"""Egress Services, Connectors, ProxyClasses and Tailnets, as `status` and `explain` show them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace.api import names
from tailrace.cli.exits import Exit
from tailrace.sandbox.kubernetes.resources import Ref
from tests.cli.town import HOME, Person, Said, Town, service

LAN, PRINTER = "192.168.47.0/24", "192.168.47.20"
CONNECTORS = Ref("tailscale.com", "v1alpha1", "connectors")


def own(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object of one of our kinds."""
    return {
        "apiVersion": "tailscale.com/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def egress(name: str, key: str, target: str) -> dict[str, Any]:
    document = service(name)
    document["metadata"]["annotations"][key] = target
    document["spec"] = {"type": "ExternalName", "externalName": "unset", "ports": [{"port": 80}]}
    return document


def wait_for(town: Town, name: str, reason: str) -> None:
    def says(world: Any) -> bool:
        found = world.cluster.get(CONNECTORS, name).get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["reason"] == reason for c in found)

    town.until(says)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """`nas` leads to a device, `printer` to a host whose router nobody approved; the Connector `office` waits for its
    route; the Tailnet `lab` has no Secret; the class `routes` is fine and `broken` is not."""
    found = Town(tmp_path_factory.mktemp("town"))
    with found.live(operator=True, TAILRACE_DEVICE_REFRESH="1s"):
        found.on(lambda world: world.join("nas"))
        found.on(lambda world: world.join("attic", routes=[LAN], lan="house"))
        nas = found.on(lambda world: world.plane.tailnet.nodes.all()[0].fqdn)
        printer = egress("printer", names.TAILNET_IP, PRINTER)
        printer["metadata"]["labels"] = {names.PROXY_CLASS: "routes"}
        far = service("far", expose="true")
        far["metadata"]["annotations"][names.TAILNET] = "lab"
        found.apply(
            own("ProxyClass", "routes", tailscale={"acceptRoutes": True}),
            own("ProxyClass", "broken", metrics={"enable": True, "serviceMonitor": {"enable": True}}),
            own("Tailnet", "lab", credentials={"secretName": "lab"}, loginUrl="https://hs.lab.example"),
            own("Connector", "office", subnetRouter={"advertiseRoutes": ["10.96.0.0/16", "172.20.7.0/24"]}),
            egress("nas", names.TAILNET_FQDN, nas),
            printer,
            far,
        )
        found.wait_for("nas", "True", "Ready")
        found.wait_for("printer", "False", "RouteNotApproved")
        wait_for(found, "office", "RoutesNotApproved")
        yield found


@pytest.fixture
def knower(person: Person, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody whose shell has the control plane's credentials."""
    for variable, file in (("CLIENT_ID_FILE", "client_id"), ("CLIENT_SECRET_FILE", "client_secret")):
        monkeypatch.setenv(variable, str(person.town.folder / file))
    return person


def read(said: Said) -> dict[str, list[str]]:
    """The rows by their titles, and the plan."""
    assert said.code == Exit.OK, said.err
    above, _, plan = said.out.partition("would do now")
    rows: dict[str, list[str]] = {"plan": [plan]}
    for line in above.splitlines():
        title, _, value = line.strip().partition(":")
        rows.setdefault(title, []).append(value.strip())
    return rows


# --- status ----------------------------------------------------------------------------------------------------


def test_every_kind_has_rows_and_a_connectors_routes_stand_where_urls_do(person: Person) -> None:
    said = person.type("status")
    lines = {line.split()[0]: line for line in said.out.splitlines()}
    assert [name for name in lines if name != "OBJECT"] == [
        "connector/office",
        "proxyclass/broken",
        "proxyclass/routes",
        "service/default/far",
        "service/default/nas",
        "service/default/printer",
        "tailnet/lab",
    ]
    place = lines["OBJECT"].index("URLS")
    for name, value in (
        ("connector/office", "10.96.0.0/16 +1"),
        ("service/default/nas", "tcp://nas."),
        ("service/default/printer", f"tcp://{PRINTER}:80"),
        ("tailnet/lab", "https://hs.lab.example"),
    ):
        assert lines[name][place:].startswith(value)
    assert "RoutesNotApproved" in lines["connector/office"]
    assert said.err == ""


def test_programs_get_routes_and_the_command_that_approves_them(person: Person) -> None:
    rows = {row["object"]: row for row in json.loads(person.type("status", "-o", "json").out)}
    office = rows["connector/office"]
    assert office["routes"] == ["10.96.0.0/16", "172.20.7.0/24"]
    assert (office["urls"], office["device"].partition(".")[0]) == ([], "office-connector")
    assert f'set {names.APPROVE_ROUTES} to "true"' in office["message"]
    assert {*office} == {*rows["service/default/nas"]} == {*rows["tailnet/lab"]}


def test_who_may_see_services_alone_is_told_what_is_left_out(person: Person) -> None:
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]}]
    said = person.as_account("narrow", rules, namespace="").type("status")
    assert said.code == Exit.OK
    assert "service/default/nas" in said.out
    assert "connector/office" not in said.out
    for kind in ("connectors", "proxyclasses", "tailnets"):
        assert f"note: {kind} are left out" in said.err


# --- explain ---------------------------------------------------------------------------------------------------


def test_an_egress_says_where_it_leads_and_whether_that_answers(knower: Person) -> None:
    found = read(knower.type("explain", "svc/default/nas"))
    assert found["leads to"][0].startswith("nas.")
    assert found["target"][0].endswith("is connected")
    assert found["proxy class"] == ["none"]
    assert "nothing to do" in found["plan"][0]


def test_an_egress_behind_a_router_names_its_class_and_what_is_missing(knower: Person) -> None:
    found = read(knower.type("explain", "default/printer"))
    assert found["proxy class"] == [f"routes, by label {names.PROXY_CLASS}"]
    assert f"the route {LAN} to {PRINTER} is advertised by attic." in found["target"][0]
    assert found["Ready"][0].startswith("False, RouteNotApproved")
    assert "then waits for RouteNotApproved" in found["plan"][0]


@pytest.mark.parametrize("name", ["connector/office", "cn/office", "Connectors/office"])
def test_a_connector_has_each_replica_its_routes_and_what_they_run_into(name: str, knower: Person) -> None:
    found = read(knower.type("explain", name))
    assert found["routes"] == ["10.96.0.0/16, 172.20.7.0/24"]
    assert found["replica"] == ["office-connector"]
    assert found["routes of it"] == [
        "advertised 10.96.0.0/16, 172.20.7.0/24; approved none; served: the control plane does not tell"
    ]
    assert "overlaps the range of this cluster's Services" in found["note"][0]
    assert "Service default/printer accepts routes by ProxyClass routes" in found["note"][1]
    assert "nothing to do" in found["plan"][0]


def test_a_class_says_who_names_it_and_what_is_wrong(person: Person) -> None:
    found = read(person.type("explain", "proxyclass/routes"))
    assert found["named by"] == ["service/default/printer"]
    assert found["ProxyClassReady"][0].startswith("True")
    wrong = read(person.type("explain", "proxyclass/broken"))
    assert "named by" not in wrong
    assert wrong["ProxyClassReady"][0].startswith("False, ProxyClassInvalid")
    assert "nothing to do" in wrong["plan"][0]


def test_a_tailnet_and_a_service_in_it_say_why_it_cannot_be_used(knower: Person) -> None:
    missing = f'referenced secret "lab" does not exist in namespace "{HOME}"'
    lab = read(knower.type("explain", "tn/lab"))
    assert lab["Secret"] == [f"lab, {missing}"]
    assert lab["used by"] == ["nothing yet"]
    far = read(knower.type("explain", "default/far"))
    assert missing in far["tailnet"][0]
    assert far["control plane"] == ['Secret "lab" does not exist.']
    assert "nothing to do" in far["plan"][0]


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("connector/offic", "There is no Connector offic.", "did you mean connector/office?"),
        ("conector/office", "There is no Service conector/office.", "did you mean connector/office?"),
        ("proxyclass/rout", "There is no ProxyClass rout.", "did you mean proxyclass/routes?"),
        ("default/prnter", "There is no Service default/prnter.", "did you mean default/printer?"),
        ("servce/default/nas", '"servce" is no kind that Tailrace serves.', "did you mean service?"),
        ("connector/a/b", '"connector/a/b" is no name of a Connector.', "write connector/NAME"),
    ],
)
def test_a_wrong_kind_or_name_is_answered_with_the_nearest(
    name: str, said: str, hint: str, person: Person
) -> None:
    found = person.type("explain", name)
    assert (found.code, found.out) == (Exit.USAGE, "")
    assert said in found.err
    assert f"hint: {hint}" in found.err


@pytest.mark.parametrize("name", ["default/nas", "cn/office", "proxyclass/broken", "tn/lab"])
def test_whoever_looks_changes_nothing_and_lists_each_resource_once(
    name: str, town: Town, knower: Person
) -> None:
    """What is created is a dry run: of a privileged pod, of a node port."""

    def count() -> Counter[tuple[str, str, str]]:
        return town.on(lambda world: Counter(world.api.requests))

    before = count()
    assert knower.type("explain", name).code == Exit.OK
    mine = {key[1:]: n for key, n in (count() - before).items() if key[0] == "kubernetes-admin"}
    assert {verb for verb, _ in mine} <= {"get", "list", "create"}
    assert {resource for verb, resource in mine if verb == "create"} <= {"pods", "services"}
    once = {resource: n for (verb, resource), n in mine.items() if verb == "list" and resource != "secrets"}
    assert {*once.values()} == {1}
    assert mine["list", "secrets"] == 2  # the proxies', and the one of the Tailnet by its name
