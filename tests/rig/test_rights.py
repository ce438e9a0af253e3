"""Rights on a real kube-apiserver: the operator's are what it really calls, a proxy's reach its own Secret alone.

What is called is the audit log's word, over a full run: from the first Service to the last, with every repair between.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from bench.grounds import HOME

from tailrace.api import names
from tailrace.proxy import names as proxy_names
from tailrace.proxy import rbac, spec
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.records import Federated
from tests.rig import audit, look
from tests.rig.apiserver import ApiServer
from tests.rig.conftest import RIGHTS, ROOT
from tests.rig.operators import Operators, read_payload

pytestmark = pytest.mark.anyio

MANIFEST = ROOT / "deploy" / "manifests" / "tailrace.yaml"
AUDIENCE = "api.example/k-rights"
MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
FIVE = str(ROOT / "deploy" / "examples" / "five-clusters")


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Right:
    """One cell of a rule. `home`: the rule holds in our own namespace alone."""

    home: bool
    verb: str
    group: str
    resource: str
    name: str = ""  # the one object that the rule is about; empty: all

    def __str__(self) -> str:
        where = "at home" if self.home else "everywhere"
        return f"{self.verb} {self.group or 'core'}/{self.resource} {self.name} {where}"


GIVEN = {
    Right(
        home=True, verb="get", group="", resource="secrets"
    ): "and for a key that waits while its Secret changes",
    Right(home=True, verb="update", group="", resource="secrets"): "containerboot does not start without",
    Right(home=True, verb="get", group="", resource="events"): "containerboot wants all of events or nothing",
}
"""Rights of a proxy's Role: the API server lets nobody give away what he has not, so the operator holds them too."""


def read_rules(manifest: Path) -> set[Right]:
    """Every cell of the roles in a file."""
    found = set()
    for document in yaml.safe_load_all(manifest.read_text()):
        home = document["kind"] == "Role"
        for rule in document.get("rules", ()):
            found |= set(read_rule(rule, home=home))
    return found


def read_rule(rule: dict[str, Any], *, home: bool) -> Iterator[Right]:
    verbs, groups, kinds = rule["verbs"], rule["apiGroups"], rule["resources"]
    for v, g, r, n in itertools.product(verbs, groups, kinds, rule.get("resourceNames", [""])):
        yield Right(home=home, verb=v, group=g, resource=r, name=n)


def read_given() -> set[Right]:
    """Every cell of a proxy's Role, as we must hold it: for all names."""
    proxy = spec.ProxySpec(
        name="ts-a",
        namespace=HOME,
        labels={},
        app="a",
        hostname="a",
        secret_name="ts-a-0",
        mode=spec.Mode.KERNEL,
        target=spec.Address(ip="192.0.2.1"),
        image=spec.Image(image="tailscale"),
    )
    _, role, _ = rbac.build_rbac(proxy)
    cells = (right for rule in role["rules"] for right in read_rule(rule, home=True))
    return {dataclasses.replace(right, name="") for right in cells}


def test_the_manifest_has_the_same_rules() -> None:
    assert read_rules(MANIFEST) == read_rules(RIGHTS)


def list_needs(calls: Sequence[audit.Call]) -> Iterator[tuple[audit.Call, str]]:
    """Each call with a verb that the API server wants for it: an apply that makes the object needs both."""
    for call in calls:
        yield call, call.verb
        if call.verb == "patch" and call.code == 201:
            yield call, "create"


def allows(right: Right, call: audit.Call, verb: str) -> bool:
    """As RBAC judges; a list by field selector of one name counts as that name."""
    one = call.fields.removeprefix("metadata.name=") if "metadata.name=" in call.fields else call.name
    return (
        (right.verb, right.group, right.resource) == (verb, call.group, call.resource)
        and (not right.home or call.namespace == HOME)
        and right.name in ("", "" if is_named_late(call, verb) else one)
    )


def is_named_late(call: audit.Call, verb: str) -> bool:
    """Who creates an object names it in the body; who creates something of one names that one in the path."""
    return verb == "create" and "/" not in call.resource


def is_own_reach(right: Right, call: audit.Call) -> bool:
    """A right for everywhere is not needed for what is only asked at home."""
    return right.home or bool(right.name) or call.namespace != HOME


async def wait_condition(
    server: ApiServer, namespace: str, name: str, kind: str, status: str = "True"
) -> None:
    await wait_that(server, f"service/{name}", f"{kind}={status}", "-n", namespace)


async def wait_that(server: ApiServer, what: str, condition: str, *more: str) -> None:
    limit = f"--timeout={look.PATIENCE:.0f}s"
    await look.kubectl(server, "wait", f"--for=condition={condition}", what, limit, *more)


async def list_exposed(server: ApiServer) -> list[tuple[str, str]]:
    return [
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in await look.list_items(server, "services", "-A")
        if names.FINALIZER in item["metadata"].get("finalizers", ())
    ]


async def live_a_full_life(server: ApiServer, plane: ControlPlane) -> None:
    """Expose, refuse, rename, repair, un-expose, delete while the control plane is away, delete all."""
    await look.kubectl(server, "apply", "-f", FIVE)
    await look.wait_until("all have joined", lambda: len(look.list_devices(plane)) == 12)
    for namespace, name in await list_exposed(server):
        await wait_condition(server, namespace, name, "Online")

    # A mistake that is told twice: the event is counted, not written again.
    await look.kubectl(
        server, "annotate", "service", "typesense", "-n", "workshop", "--overwrite", f"{names.HOSTNAME}=a.b"
    )
    await wait_condition(server, "workshop", "typesense", "Accepted", "False")
    await look.kubectl(
        server,
        "annotate",
        "service",
        "typesense",
        "-n",
        "workshop",
        "--overwrite",
        f"{names.HOSTNAME}=typesense",
    )
    await wait_condition(server, "workshop", "typesense", "Accepted")
    await look.kubectl(
        server, "annotate", "service", "typesense", "-n", "workshop", "--overwrite", f"{names.HOSTNAME}=a.b"
    )
    await wait_condition(server, "workshop", "typesense", "Accepted", "False")
    await look.kubectl(
        server,
        "annotate",
        "service",
        "typesense",
        "-n",
        "workshop",
        "--overwrite",
        f"{names.HOSTNAME}=search",
    )
    await look.wait_until("the device is renamed", lambda: "search" in look.list_devices(plane))

    # Children and a device that somebody took away come back.
    child = proxy_names.build_child_name("svc", "workshop", "redis")
    for kind in ("role", "rolebinding", "serviceaccount"):
        await look.kubectl(server, "delete", kind, child, "-n", HOME)
    device = next(node for node in plane.tailnet.nodes.all() if node.name == "qdrant")
    plane.tailnet.delete_node(device.id)
    await look.wait_until(
        "the device is back",
        lambda: any(n.name == "qdrant" and n.id != device.id for n in plane.tailnet.nodes.all()),
    )
    async with asyncio.timeout(look.PATIENCE):
        while len([c for c in await look.list_children(server) if c.endswith(child)]) < 4:
            await asyncio.sleep(0.2)

    await look.kubectl(server, "annotate", "service", "jellyfin", "-n", "media", f"{names.EXPOSE}-")
    await look.wait_until("it has left", lambda: "media-jellyfin" not in look.list_devices(plane))
    # A device whose control plane is away for too long is written down, and deleted when it is back.
    await plane.refuse_connections()
    await look.kubectl(server, "delete", "service", "pds", "-n", "workshop")
    assert "pds" in look.list_devices(plane)
    await plane.accept_connections()
    await look.wait_until("its device is gone", lambda: "pds" not in look.list_devices(plane))

    await look.kubectl(server, "delete", "-f", FIVE, "--wait=false", "--ignore-not-found")
    await look.wait_nothing_left(server, plane)


def build_route(client: str, login_server: str) -> list[dict[str, Any]]:
    """Replicas that route, a way out, a class that measures and takes node ports, a tailnet by workload identity."""
    own = "tailscale.com/v1alpha1"
    watched = {"metrics": {"enable": True, "serviceMonitor": {"enable": True}}}
    ports = {"staticEndpoints": {"nodePort": {"ports": [{"port": 30123}]}}}
    return [
        {
            "apiVersion": own,
            "kind": "ProxyClass",
            # Such a finalizer has a class of the official operator's time.
            "metadata": {"name": "watched", "finalizers": [names.FINALIZER]},
            "spec": watched | ports,
        },
        {
            "apiVersion": own,
            "kind": "Connector",
            "metadata": {"name": "way"},
            "spec": {
                "replicas": 2,
                "subnetRouter": {"advertiseRoutes": ["192.0.2.0/24"]},
                "proxyClass": "watched",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "far",
                "namespace": "default",
                "labels": {names.PROXY_CLASS: "watched"},
                "annotations": {names.TAILNET_IP: "100.64.0.99"},
            },
            "spec": {"type": "ExternalName", "externalName": "unused"},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "identity", "namespace": HOME},
            "stringData": {"client_id": client, "audience": AUDIENCE},
        },
        {
            "apiVersion": own,
            "kind": "Tailnet",
            "metadata": {"name": "second"},
            "spec": {"credentials": {"secretName": "identity"}, "loginUrl": login_server},
        },
    ]


async def live_by_roads(server: ApiServer, plane: ControlPlane, folder: Path) -> None:
    """Every kind beside the exposed Service comes, is Ready, and leaves."""
    trusted = Federated(
        issuer="https://kubernetes.default.svc",
        subject=f"system:serviceaccount:{HOME}:operator",
        audience=AUDIENCE,
        verify=read_claims,
    )
    client = plane.tailnet.add_client(scopes=("all",), tags=("tag:k8s-operator",), federated=trusted)
    file = folder / "route.json"
    items = build_route(client.id, plane.url)
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    await look.kubectl(server, "apply", "-f", str(file))
    await wait_that(server, "proxyclass/watched", "ProxyClassReady")
    await wait_that(server, "tailnet/second", "TailnetReady")
    await wait_that(server, "connector/way", "Online")
    await wait_condition(server, "default", "far", "Online")
    async with asyncio.timeout(look.PATIENCE):
        while len(await look.list_items(server, "servicemonitors", "-n", HOME)) < 2:
            await asyncio.sleep(0.2)
    await look.kubectl(server, "delete", "-f", str(file))
    await look.wait_nothing_left(server, plane)


def read_claims(token: str) -> dict[str, Any]:
    """Of a token of this cluster, which nobody here forges."""
    claims: dict[str, Any] = read_payload(token)
    return claims | {"aud": claims["aud"][0]}


@pytest.fixture
async def monitors(server: ApiServer, tmp_path: Path) -> AsyncIterator[None]:
    """The kind that Prometheus' operator brings."""
    file = tmp_path / "monitors.json"
    file.write_text(json.dumps(MONITORS))
    await look.kubectl(server, "apply", "-f", str(file))
    await wait_that(server, "crd/servicemonitors.monitoring.coreos.com", "Established")
    yield
    await look.kubectl(server, "delete", "-f", str(file))


@pytest.mark.usefixtures("monitors")
async def test_the_rules_are_what_the_operator_calls_nothing_missing_nothing_extra(
    server: ApiServer, tailnet: ControlPlane, operators: Operators, tmp_path: Path
) -> None:
    begun = datetime.now(UTC)
    operator = operators.start(settings={"TAILRACE_DELETE_DEADLINE": "1s"})
    await live_a_full_life(server, tailnet)
    await live_by_roads(server, tailnet, tmp_path)
    operator.kill()

    rules = read_rules(RIGHTS)
    calls = [c for c in audit.read(server.audit_log) if c.token == operator.token and c.at > begun]
    needs = list(list_needs(calls))
    missing = {
        f"{verb} {call.target}"
        for call, verb in needs
        if not any(allows(right, call, verb) for right in rules)
    }
    refused = {call.target for call in calls if call.code == 403}
    # Where the server refuses a streaming list, a watch begins with a list: the one goes with the other.
    lists = {dataclasses.replace(right, verb="list") for right in rules if right.verb == "watch"}
    extra = {
        right
        for right in rules - lists
        if not any(allows(right, call, verb) and is_own_reach(right, call) for call, verb in needs)
    }
    assert (missing, refused) == (set(), set())
    assert extra - set(GIVEN) == set()
    assert lists <= rules
    assert set(GIVEN) <= read_given()


async def test_a_proxy_may_read_its_own_secret_and_no_other(
    server: ApiServer, tailnet: ControlPlane, operators: Operators
) -> None:
    """Tried from inside, with tokens of two proxies' own accounts: each secret by each proxy, and every other way."""
    space = "inside"
    await look.kubectl(server, "create", "namespace", space)
    for name in ("one", "two"):
        await look.kubectl(server, "create", "service", "clusterip", name, "-n", space, "--tcp=80")
        await look.kubectl(server, "annotate", "service", name, "-n", space, f"{names.EXPOSE}=true")
    operators.start()
    for name in ("one", "two"):
        await wait_condition(server, space, name, "Online")
    proxies = [proxy_names.build_child_name("svc", space, name) for name in ("one", "two")]
    for own, other in (proxies, reversed(proxies)):
        token = (await look.kubectl(server, "create", "token", own, "-n", HOME)).strip()
        assert await try_all(server.url, token, own, other) == {
            "get own": 200,
            "patch own": 200,
            "get other": 403,
            "patch other": 403,
            "list": 403,
            "watch": 403,
            "delete own": 403,
            "create": 403,
            "elsewhere": 403,
            "token of other": 403,
            "pods": 403,
            "events": 201,
        }
    await look.kubectl(server, "delete", "namespace", space, "--wait=false")
    await look.wait_nothing_left(server, tailnet)


async def try_all(url: str, token: str, own: str, other: str) -> dict[str, int]:
    """What the API server answers to the holder of this token."""
    core, home = f"{url}/api/v1", f"{url}/api/v1/namespaces/{HOME}"
    merge = {"Content-Type": "application/merge-patch+json"}
    event = {
        "metadata": {"name": f"{own}.{token[-8:].lower()}", "namespace": HOME},
        "involvedObject": {"kind": "Pod", "namespace": HOME, "name": f"{own}-0"},
    }
    async with httpx2.AsyncClient(verify=False, headers={"Authorization": f"Bearer {token}"}) as http:
        answers = {
            "get own": http.get(f"{home}/secrets/{own}-0"),
            "patch own": http.patch(f"{home}/secrets/{own}-0", content="{}", headers=merge),
            "get other": http.get(f"{home}/secrets/{other}-0"),
            "patch other": http.patch(f"{home}/secrets/{other}-0", content="{}", headers=merge),
            "list": http.get(f"{home}/secrets"),
            "watch": http.get(f"{home}/secrets?watch=true&fieldSelector=metadata.name={own}-0"),
            "delete own": http.delete(f"{home}/secrets/{own}-0"),
            "create": http.post(f"{home}/secrets", json={"metadata": {"name": "more"}}),
            "elsewhere": http.get(f"{core}/namespaces/default/secrets/{own}-0"),
            "token of other": http.post(f"{home}/serviceaccounts/{other}/token", json={}),
            "pods": http.get(f"{home}/pods"),
            "events": http.post(f"{home}/events", json=event),
        }
        return {what: (await answer).status_code for what, answer in answers.items()}
