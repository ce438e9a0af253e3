"""The kinds that the laws hold for, each as a table: its object, what may happen to it, and how it is made valid again.

A kind is added by a `Kind` in `ALL`; the laws themselves are in `test_laws`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.kube import resources
from tailrace.kube.resource import Key, Resource
from tailrace.tailnet import port
from tailrace.tailnet.memory import MemoryPlane
from tests.laws.histories import LOSSES, WEB, Edit, annotate, change, lose, remove_devices
from tests.support.tailnets import Tailnet
from tests.support.world import World, build_class, build_egress, build_service, open_world

LAN, PRINTER = "192.168.1.0/24", "192.168.1.20"
FQDN, IP, EXPOSE = "tailscale.com/tailnet-fqdn", "tailscale.com/tailnet-ip", "tailscale.com/expose"
FOREIGN = {"db", "router"}
"""The devices that are in every tailnet beside ours."""

HOME = Key("", "home")
ROUTE = "10.1.0.0/24"


def do_nothing(_: World[Any]) -> None:
    """For what is valid whatever happened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind under the laws."""

    resource: Resource[Any]
    key: Key
    begin: Callable[[World[Any]], None]  # somebody makes the object
    edits: Mapping[str, Edit]
    mend: Callable[[World[Any]], None] = do_nothing
    """What is not valid keeps what ran before, whatever that was: a history that shall be forgotten ends valid."""

    turns: int = 25  # in which it comes to rest

    @property
    def place(self) -> tuple[str, str, str]:
        """Of the object in the memory cluster."""
        return (self.resource.kind, *self.key)

    def start(self, world: World[Any]) -> None:
        furnish(world.plane)
        self.begin(world)

    async def settle(self, world: World[Any]) -> None:
        await world.settle(self.key, turns=self.turns)

    async def build_clean_start(self, world: World[Any]) -> dict[Any, Any]:
        """What the object as it is now comes to where nothing ever happened, in a tailnet that is as it is now: the
        twin's, for what a history ends in differs neither by how it went nor by where."""
        live = world.cluster.objects[self.place]
        meta = {"name": self.key.name, "annotations": live["metadata"].get("annotations", {})}
        if self.key.namespace:
            meta["namespace"] = self.key.namespace
        async with open_world(MemoryPlane(domain=domain_of(world.plane))) as clean:
            furnish(clean.plane)
            for name in FOREIGN:
                there, here = find(world.plane, name), find(clean.plane, name)
                clean.plane.set_online(here.id, there.online)
                clean.plane.approve(here.id, there.enabled_routes)
            clean.cluster.put(self.resource, {"metadata": meta, "spec": live["spec"]})
            put_class(clean)
            await self.settle(clean)
            return clean.snapshot()


# --- what stands beside ------------------------------------------------------------------------------------------


def furnish(tailnet: Tailnet) -> None:
    """What is in the tailnet beside us."""
    tailnet.add("db", user="somebody")
    tailnet.add("router", user="somebody-else", routes=[LAN])


def find(tailnet: Tailnet, name: str) -> port.Device:
    return next(d for d in tailnet.devices if d.name == name)


def domain_of(tailnet: Tailnet) -> str:
    """The tailnet's base domain."""
    return (find(tailnet, "db").fqdn or "").partition(".")[2]


def put_class(world: World[Any]) -> None:
    world.cluster.put(resources.PROXY_CLASSES, build_class())


def drop_class(world: World[Any]) -> None:
    if ("ProxyClass", "", "routes") in world.cluster.objects:
        world.cluster.remove(("ProxyClass", "", "routes"))


# --- a Service that is exposed -----------------------------------------------------------------------------------

EXPOSED = Kind(
    resource=resources.SERVICES,
    key=WEB,
    begin=lambda world: world.cluster.put(resources.SERVICES, build_service()),
    edits={
        "hostname": annotate("tailscale.com/hostname", "other"),
        "tags": annotate("tailscale.com/tags", "tag:a,tag:b"),
        "userspace": annotate("tailrace.dev/mode", "userspace"),
        "ports": change({"spec": {"ports": [{"port": 80}, {"port": 81}]}}),
        "unexpose": annotate(EXPOSE, None),
        "expose": annotate(EXPOSE, "true"),
        "device deleted": remove_devices,
        "recreate": annotate("tailrace.dev/recreate", "1"),
        **LOSSES,
    },
)


# --- a Service that leads out ------------------------------------------------------------------------------------


def lead_to(**notes: str | None) -> Edit:
    """Somebody writes one target, and takes the others away."""
    body = {FQDN: None, IP: None, **{f"tailscale.com/{k}": v for k, v in notes.items()}}
    return change({"metadata": {"annotations": body}})


def lead_to_name(world: World[Any]) -> None:
    lead_to(**{"tailnet-fqdn": f"db.{domain_of(world.plane)}"})(world)


def turn(name: str, *, on: bool) -> Edit:
    return lambda world: world.plane.set_online(find(world.plane, name).id, on)


def approve(*routes: str) -> Edit:
    return lambda world: world.plane.approve(find(world.plane, "router").id, routes)


def begin_egress(world: World[Any]) -> None:
    world.cluster.put(resources.SERVICES, build_egress())
    lead_to_name(world)


def mend_egress(world: World[Any]) -> None:
    put_class(world)
    annotate(EXPOSE, None)(world)


EGRESS = Kind(
    resource=resources.SERVICES,
    key=WEB,
    begin=begin_egress,
    mend=mend_egress,
    edits={
        "to a name": lead_to_name,
        "to a stranger": lead_to(**{"tailnet-fqdn": "nobody.example.org"}),
        "to a printer": lead_to(**{"tailnet-ip": PRINTER}),
        "nowhere": lead_to(),
        "hostname": annotate("tailscale.com/hostname", "other"),
        "tags": annotate("tailscale.com/tags", "tag:a,tag:b"),
        "class": annotate("tailscale.com/proxy-class", "routes"),
        "class appears": put_class,
        "class disappears": drop_class,
        "ports": change({"spec": {"ports": [{"port": 53, "name": "dns", "protocol": "UDP"}]}}),
        "device deleted": remove_devices,
        "target offline": turn("db", on=False),
        "target online": turn("db", on=True),
        "router offline": turn("router", on=False),
        "router online": turn("router", on=True),
        "route approved": approve(LAN),
        "route refused": approve(),
        "exposed too": annotate(EXPOSE, "true"),
        "not exposed": annotate(EXPOSE, None),
        "headless Service lost": lose("Service"),
        **LOSSES,
    },
)


# --- a Connector -------------------------------------------------------------------------------------------------


def build_connector(name: str = "home", /, **spec: Any) -> dict[str, Any]:
    """A Connector that routes one network and has its routes approved."""
    return {
        "metadata": {"name": name, "annotations": {"tailrace.dev/approve-routes": "true"}},
        "spec": {"subnetRouter": {"advertiseRoutes": [ROUTE]}, **spec},
    }


def respec(**spec: Any) -> Edit:
    return change({"spec": spec}, resources.CONNECTORS, HOME)


def note(key: str, value: str) -> Edit:
    return change({"metadata": {"annotations": {key: value}}}, resources.CONNECTORS, HOME)


WRONG = {"advertiseRoutes": ["10.2.0.1/24"]}
CONNECTOR_EDITS: dict[str, Edit] = {
    "two": respec(replicas=2),
    "three": respec(replicas=3),
    "one": respec(replicas=1),
    "none": respec(replicas=0),
    "routes": respec(subnetRouter={"advertiseRoutes": ["10.2.0.0/24", "10.3.0.0/24"]}),
    "exit node": respec(exitNode=True),
    "app connector": respec(subnetRouter=None, exitNode=None, appConnector={"routes": ["10.4.0.0/24"]}),
    "prefix": respec(hostnamePrefix="gate"),
    "tags": respec(tags=["tag:a", "tag:b"]),
    "wrong": respec(subnetRouter=WRONG),
    "class": respec(proxyClass="routes"),
    "userspace": note("tailrace.dev/mode", "userspace"),
    "recreate": note("tailrace.dev/recreate", "1"),
    "device deleted": remove_devices,
    "budget lost": lose("PodDisruptionBudget"),
    **LOSSES,
}


def mend_connector(world: World[Any]) -> None:
    live = world.cluster.objects["Connector", *HOME]["spec"]
    if live.get("appConnector"):
        CONNECTOR_EDITS["app connector"](world)
    elif live.get("subnetRouter") == WRONG:
        CONNECTOR_EDITS["routes"](world)
    put_class(world)


CONNECTOR = Kind(
    resource=resources.CONNECTORS,
    key=HOME,
    begin=lambda world: world.cluster.put(resources.CONNECTORS, build_connector()),
    mend=mend_connector,
    edits=CONNECTOR_EDITS,
    turns=60,
)

ALL = {"exposed": EXPOSED, "egress": EGRESS, "connector": CONNECTOR}
