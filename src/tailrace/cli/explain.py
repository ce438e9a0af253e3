"""`tailrace explain`: what the operator sees of a Service, what it decided, and what it would do now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from tailrace import app, settings
from tailrace.api import kube
from tailrace.api.conditions import ConditionType
from tailrace.cli import cluster as clusters
from tailrace.cli.exits import Exit
from tailrace.cli.look import Look, look
from tailrace.fleet.world import find_place
from tailrace.kinds.service import decide, request
from tailrace.plan import words
from tailrace.proxy import names as proxy_names
from tailrace.tailnet import port

TITLE_WIDTH = 21


async def explain(
    name: Annotated[str, Parameter(help="service/NAMESPACE/NAME or NAMESPACE/NAME.")],
    /,
    *,
    cluster: clusters.Target | None = None,
) -> int:
    """Say what the operator sees, decided and would do now.

    Nothing is changed. The operator's settings are those that it wrote down in the cluster. The control plane is asked
    too when this shell has credentials for it (the operator's variables, such as TAILRACE_API_KEY_FILE).

    Example: `tailrace explain service/default/web`
    """
    async with clusters.connect(cluster) as found:
        namespace, service_name = clusters.parse_name(name, found.namespace)
        service = await clusters.get_service(found, namespace, service_name)
        operator = await clusters.find_operator(found)
        plane = open_plane(operator.settings)
        try:
            seen = await look(found, plane, operator, service)
        finally:
            if plane is not None:
                await plane.close()
        where = clusters.describe(found)
    print(f"service/{namespace}/{service_name} in {where}")
    print_rows(
        "operator",
        (("namespace", operator.namespace), ("running", seen.running), ("settings", operator.source)),
    )
    print_rows("sees", describe_seen(seen))
    print_rows("decided", describe_conditions(service))
    print_plan(seen)
    return Exit.OK


def open_plane(loaded: settings.Settings) -> port.ControlPlane | None:
    """The control plane, when this shell has credentials for it."""
    if not (loaded.client_id or loaded.client_id_file or loaded.client_secret_file or loaded.api_key_file):
        return None
    return app.open_plane(loaded)


def describe_seen(seen: Look) -> Iterable[tuple[str, str]]:
    world = seen.inputs
    wish = request.read_request(seen.service, world.install.defaults)
    place = find_place(world.proxies, proxy_names.build_child_name("svc", world.namespace, world.name))
    state, workload = place.children.state, place.children.statefulset
    ready = sum(1 for s in world.slices for e in s.endpoints or () if e.conditions.ready is not False)
    yield "exposed", "yes" if wish.exposed else "no"
    if wish.exposed:
        yield "hostname", wish.hostname
        yield "tags", ", ".join(wish.tags)
        yield "mode asked for", str(wish.mode)
    yield (
        "proxy",
        f"{world.install.namespace}/{place.name}" if workload else "none",
    )
    yield "device", f"{state.device_id} {state.fqdn}".strip() if state and state.device_id else "none"
    yield "control plane", seen.control_plane
    yield "ready endpoints", str(ready)
    for sentence in (*wish.violations, *wish.later, *wish.unknown):
        yield "wrong", sentence
    for sentence in seen.unseen:
        yield "not seen", sentence


def describe_conditions(service: kube.Service) -> Iterable[tuple[str, str]]:
    """What the operator wrote last, Ready first."""
    ours = [kind for kind in ConditionType if kind is not ConditionType.READY]
    found = [kube.find_condition(service.status.conditions, kind) for kind in (ConditionType.READY, *ours)]
    for condition in found:
        if condition is not None:
            yield condition.type, f"{condition.status}, {condition.reason}: {condition.message}"
    if not any(found):
        yield "nothing", "no operator has said anything about it"


def print_plan(seen: Look) -> None:
    """The plan in words, and what it waits for."""
    plan = decide.decide(seen.inputs)
    blind = "" if seen.inputs.tailnet.known else " (as far as can be told without the control plane)"
    print(f"would do now{blind}")
    for line in words.describe(plan):
        print(f"  {line}")
    if plan.result.waiting_on:
        print(f"then waits for {plan.result.waiting_on}")


def print_rows(title: str, rows: Iterable[tuple[str, str]]) -> None:
    print(title)
    for key, value in rows:
        print(f"  {key + ':':<{TITLE_WIDTH}}{value}")
