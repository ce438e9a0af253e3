"""What a Connector asks for, read from its fields and annotations; everything wrong becomes one sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailrace.api import names
from tailrace.api.connector import Connector, ConnectorSpec
from tailrace.fleet import wish
from tailrace.fleet.approval import EXIT
from tailrace.fleet.install import Defaults
from tailrace.fleet.wish import OnConflict, Wish
from tailrace.kinds.connector import routes
from tailrace.proxy import names as proxy_names
from tailrace.settings import Mode

MOST = 1000  # replicas: their numbers have at most three digits, which names leave room for


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A Connector's wish."""

    replicas: int
    hostnames: tuple[str, ...]  # of each replica
    routes: tuple[str, ...]  # sorted; those of an exit node are among them
    app_connector: bool
    tags: tuple[str, ...]  # sorted
    mode: Mode
    approve: bool  # Tailrace is to approve the routes
    on_conflict: OnConflict
    recreate: str
    tailnet: str
    proxy_class: str
    violations: tuple[str, ...] = ()

    def build_wish(self, replica: int) -> Wish:
        """What one of the devices shall be."""
        return Wish(
            hostname=self.hostnames[replica],
            tags=self.tags,
            on_conflict=self.on_conflict,
            recreate=self.recreate,
            tailnet=self.tailnet,
            proxy_class=self.proxy_class,
        )


def read_request(connector: Connector, defaults: Defaults) -> Request:
    """Read everything at once: all violations are told together, not one after the other."""
    asked, notes = connector.spec, connector.metadata.annotations
    replicas = 1 if asked.replicas is None else asked.replicas
    hostnames = build_hostnames(connector.metadata.name, asked, min(replicas, MOST))
    wrong = [*check_shape(asked, replicas), *check_names(asked, hostnames)]
    advertised = list_routes(asked)
    for route in advertised:
        wrong += routes.check_route(route)
    mode = Mode(wish.check_choice(notes, names.MODE, tuple(Mode), defaults.mode, wrong))
    approve = wish.check_choice(notes, names.APPROVE_ROUTES, ("true", "false"), "false", wrong)
    on_conflict = wish.read_on_conflict(notes, wrong)
    tags = tuple(sorted(set(asked.tags))) or defaults.tags
    wrong += wish.check_tags(tags, "spec.tags")
    return Request(
        replicas=min(replicas, MOST),
        hostnames=hostnames,
        routes=routes.sort((*advertised, *(EXIT if asked.exitNode else ()))),
        app_connector=asked.appConnector is not None,
        tags=tags,
        mode=mode,
        approve=approve == "true",
        on_conflict=on_conflict,
        recreate=notes.get(names.RECREATE, ""),
        tailnet=asked.tailnet,
        proxy_class=asked.proxyClass,
        violations=tuple(wrong),
    )


def list_routes(asked: ConnectorSpec) -> tuple[str, ...]:
    """As they are written, without those of an exit node."""
    if asked.subnetRouter is not None:
        return asked.subnetRouter.advertiseRoutes
    return asked.appConnector.routes if asked.appConnector is not None else ()


def build_hostnames(name: str, asked: ConnectorSpec, replicas: int) -> tuple[str, ...]:
    """By default the first device is `<name>-connector` and the others have their number behind it: so are the devices
    named that the official operator makes, and more replicas change no name."""
    if asked.hostnamePrefix:
        return tuple(f"{asked.hostnamePrefix}-{i}" for i in range(replicas))
    first = asked.hostname or build_default(f"{name}-connector")
    return (first, *(build_default(f"{name}-connector-{i}") for i in range(1, replicas)))[:replicas]


def build_default(name: str) -> str:
    """One DNS label; a name that is too long is cut, with a hash that keeps it unique."""
    return proxy_names.truncate_label(name.replace(".", "-"))


def check_shape(asked: ConnectorSpec, replicas: int) -> Iterable[str]:
    """The rules of the definition once more: objects that were there before it may break them."""
    router = asked.subnetRouter is not None or asked.exitNode
    if not router and asked.appConnector is None:
        yield (
            "A Connector needs to have at least one of exit node, subnet router or app connector configured."
        )
    if router and asked.appConnector is not None:
        yield "The appConnector field is mutually exclusive with exitNode and subnetRouter fields."
    if asked.hostname and replicas > 1:
        yield (
            "The hostname field cannot be specified when replicas is greater than 1: write hostnamePrefix."
        )
    if asked.hostname and asked.hostnamePrefix:
        yield "The hostname and hostnamePrefix fields are mutually exclusive."
    if asked.subnetRouter is not None and not asked.subnetRouter.advertiseRoutes:
        yield "invalid subnet router spec: no routes defined"
    if replicas > MOST:
        yield f"replicas is {replicas}: write at most {MOST}"


def check_names(asked: ConnectorSpec, hostnames: tuple[str, ...]) -> list[str]:
    if not hostnames or not (asked.hostname or asked.hostnamePrefix):
        return []
    what = "hostname" if asked.hostname else "hostnamePrefix, with its number,"
    return wish.check_hostname(hostnames[-1], what)
