"""What the user's Service was before it was led to the proxy: remembered, rewritten, given back. Pure.

It is remembered on the headless Service and on the proxy's Secret, which are applied before the rewrite and deleted after
the return; a crash in between finds either the user's own spec or the memory of it, and somebody who deletes one of the two
leaves the other. What the user writes into a rewritten Service while it
leads out is his newest word: it is remembered in place of the older, and rewritten again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from tailrace.api import kube, names
from tailrace.fleet.world import Children, Place, Root
from tailrace.kinds.egress.inputs import Case, Inputs
from tailrace.plan import diff, ops
from tailrace.proxy import spec

LOST = (
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "externalTrafficPolicy",
    "allocateLoadBalancerNodePorts",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
)
"""Fields that the API server takes away from an ExternalName by itself, so that they must be given back."""

TURN = "the proxy's name in the cluster"


def build_headless(case: Case) -> dict[str, Any]:
    """The Service that resolves to the proxy's pod, under the user's ports and their names."""
    place = case.world.place
    ports = [
        {
            "port": port.port,
            "protocol": port.protocol,
            **({"name": port.name} if port.name else {}),
            **({"appProtocol": port.appProtocol} if port.appProtocol else {}),
        }
        for port in case.service.spec.ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": place.name,
            "namespace": case.inputs.install.namespace,
            "labels": dict(case.world.root.owner),
            "annotations": remember(case),
        },
        "spec": {
            "clusterIP": "None",
            **choose_families(case),
            "selector": {names.APP: case.world.root.meta.uid},
            **({"ports": ports} if ports else {}),
        },
    }


def choose_families(case: Case) -> dict[str, Any]:
    """The name has addresses of the families that are led on from: that of a literal target alone, of a device both."""
    if not isinstance(case.wish.target, spec.TailnetAddress):
        return {"ipFamilyPolicy": "PreferDualStack"}
    family = f"IPv{ipaddress.ip_address(case.wish.target.ip).version}"
    return {"ipFamilyPolicy": "SingleStack", "ipFamilies": [family]}


def lacks_family(case: Case) -> bool:
    """Whether the headless Service has yet to get the family of a literal target. A cluster without that family refuses
    it, so that comes before anything that costs a key or a device."""
    live = case.world.children.headless
    families = choose_families(case).get("ipFamilies")
    return families is not None and (live is None or list(live.spec.ipFamilies) != families)


def decide_family(case: Case) -> ops.Plan:
    """The headless Service alone."""
    wanted = diff.decide_apply(build_headless(case), case.world.children.headless)
    owner = case.world.root.owner
    return ops.Plan(stages=ops.stages([wanted]), result=ops.Result(waiting_on=TURN), owner=owner)


def remember(case: Case) -> dict[str, str]:
    """The annotation with the user's spec as JSON; of a Service that is rewritten already what is remembered of it, maybe
    nothing."""
    if is_rewritten(case.service, case.inputs.install.namespace, case.world.place):
        memory = find_memory(case.inputs.proxies)
    else:
        memory = msgspec.json.encode(case.service.spec, order="deterministic").decode()
    return {names.ORIGINAL: memory} if memory else {}


def is_rewritten(service: kube.Service, namespace: str, place: Place) -> bool:
    """Whether the Service leads to a proxy of its own, under today's cluster domain or a former one."""
    if service.spec.type != "ExternalName":
        return False
    made = {place.name, *(o.metadata.name for kind, o in place.children.others if kind == "Service")}
    return any(service.spec.externalName.startswith(f"{name}.{namespace}.svc.") for name in made)


def decide_rewrite(case: Case) -> ops.PatchSpec | None:
    """Lead the user's Service to the proxy; None when it is led there already, or our finalizer does not hold it yet."""
    spec, root, install = case.service.spec, case.world.root, case.inputs.install
    wanted = f"{case.world.place.name}.{install.namespace}.svc.{install.cluster_domain}"
    right = spec.type == "ExternalName" and spec.externalName == wanted and not spec.selector
    if right or not root.held:
        return None
    body: dict[str, Any] = {
        "type": "ExternalName",
        "externalName": wanted,
        "selector": None,
        "clusterIP": None,
        "clusterIPs": None,
    }
    if spec.loadBalancerSourceRanges:  # the one field that the server refuses instead of taking it away
        body["loadBalancerSourceRanges"] = None
    return patch(root, body)


def decide_again(case: Case) -> ops.PatchSpec | None:
    """Lead there again a Service whose manifest was applied once more as it was, beside a mistake: the placeholder that
    stands in it must not cut off what runs."""
    before = read_memory(find_memory(case.inputs.proxies))
    return decide_rewrite(case) if before is not None and before == case.service.spec else None


def decide_return(i: Inputs, service: kube.Service, root: Root, place: Place) -> ops.PatchSpec | None:
    """Give the user's Service back as it was; None when it is, or when he has made something else of it."""
    if not is_rewritten(service, i.install.namespace, place):
        return None
    before = read_memory(find_memory(i.proxies))
    return None if before is None else patch(root, build_return(i, before, service.spec))


def find_memory(proxies: Mapping[str, Children]) -> str:
    """What is remembered in either place, "" for nothing."""
    beside = [found.headless for found in proxies.values()]
    states = [found.state for found in proxies.values()]
    notes = (
        *(service.metadata.annotations.get(names.ORIGINAL, "") for service in beside if service is not None),
        *(state.note(names.ORIGINAL) for state in states if state is not None),
    )
    return next((note for note in notes if note), "")


def read_memory(text: str) -> kube.ServiceSpec | None:
    try:
        return msgspec.json.decode(text, type=kube.ServiceSpec)
    except msgspec.DecodeError:
        return None


def build_return(i: Inputs, before: kube.ServiceSpec, now: kube.ServiceSpec) -> dict[str, Any]:
    """The patch that makes a rewritten spec what it was. Ports are the user's all the time; only their node ports went."""
    body: dict[str, Any] = {
        "type": before.type,
        "externalName": before.externalName or None,
        "selector": before.selector or None,
    }
    if before.type == "ExternalName":
        return body
    known: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(before))
    body |= {name: known[name] for name in LOST if name in known}
    if before.clusterIP and is_free(i, before.clusterIP):
        body["clusterIP"] = before.clusterIP
    else:
        body.pop("clusterIPs", None)
    same = [port_of(p) for p in now.ports] == [port_of(p) for p in before.ports]
    free = not any(str(p.nodePort) in i.taken for p in before.ports)
    if before.ports and (not now.ports or (same and free and any(p.nodePort for p in before.ports))):
        body["ports"] = known["ports"]
    return body


def is_free(i: Inputs, address: str) -> bool:
    """Whether nobody took the address meanwhile, and it is still one that a Service may have."""
    ranges = [r.cidr for r in i.ranges if r.what == "Services"]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    fits = not ranges or any(ip in ipaddress.ip_network(cidr) for cidr in ranges)
    return fits and address not in i.taken


def port_of(port: kube.ServicePort) -> tuple[str, int, str]:
    return port.name, port.port, port.protocol


def patch(root: Root, body: dict[str, Any]) -> ops.PatchSpec:
    return ops.PatchSpec(ref=root.ref, resource_version=root.meta.resourceVersion, spec=body)
