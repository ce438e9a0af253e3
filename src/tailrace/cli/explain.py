"""`tailrace explain`: what the operator sees of an object, what it decided, and what it would do now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from tailrace.api import kube
from tailrace.api.conditions import ConditionType
from tailrace.cli import cluster as clusters
from tailrace.cli.exits import Exit
from tailrace.cli.look import look
from tailrace.cli.rooms import ROOMS, Explained
from tailrace.plan import words

TITLE_WIDTH = 21


async def explain(
    name: Annotated[
        str,
        Parameter(help="NAMESPACE/NAME of a Service, or connector/NAME, proxyclass/NAME, tailnet/NAME."),
    ],
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
        kind, key = clusters.parse_name(name, found.namespace, clusters.KINDS)
        root = await clusters.get(found, kind, key)
        operator = await clusters.find_operator(found)
        async with look(found, operator) as sight:
            explained = await ROOMS[kind.resource.kind](sight, root)
            running = sight.running
        where = clusters.describe(found)
    print(f"{kind.name}/{key} in {where}")
    print_rows(
        "operator",
        (("namespace", operator.namespace), ("running", running), ("settings", operator.source)),
    )
    print_rows("sees", explained.rows)
    print_rows("decided", describe_conditions(root.status.conditions))
    print_plan(explained)
    return Exit.OK


def describe_conditions(conditions: tuple[kube.Condition, ...]) -> Iterable[tuple[str, str]]:
    """What the operator wrote last, Ready first."""
    ours = [kind for kind in ConditionType if kind is not ConditionType.READY]
    found = [kube.find_condition(conditions, kind) for kind in (ConditionType.READY, *ours)]
    for condition in found:
        if condition is not None:
            yield condition.type, f"{condition.status}, {condition.reason}: {condition.message}"
    if not any(found):
        yield "nothing", "no operator has said anything about it"


def print_plan(explained: Explained) -> None:
    """The plan in words, and what it waits for."""
    plan = explained.plan
    blind = " (as far as can be told without the control plane)" if explained.blind else ""
    print(f"would do now{blind}")
    for line in words.describe(plan):
        print(f"  {line}")
    if plan.result.waiting_on:
        print(f"then waits for {plan.result.waiting_on}")


def print_rows(title: str, rows: Iterable[tuple[str, str]]) -> None:
    print(title)
    for key, value in rows:
        print(f"  {key + ':':<{TITLE_WIDTH}}{value}")
