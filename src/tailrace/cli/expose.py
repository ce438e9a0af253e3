"""`tailrace expose` and `tailrace unexpose`: set and take away the annotations, then wait for what the operator makes
of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

import msgspec
from cyclopts import Parameter

from tailrace import errors, settings
from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, Reason
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.fleet import wish
from tailrace.fleet.install import Defaults
from tailrace.fleet.world import is_egress
from tailrace.kinds.egress import request as egress_request
from tailrace.kinds.service import request, view
from tailrace.kube import resources
from tailrace.kube.client import Kube

OURS = (names.EXPOSE, names.HOSTNAME, names.TAGS, names.MODE, names.PROXY_CLASS, names.TAILNET)
LOOK = 0.5  # seconds between two looks at the Service
GRACE = 10.0  # seconds in which a verdict from before the change may still stand there
REFUSED = {Reason.KEY_REFUSED, Reason.CREDENTIALS_REFUSED, Reason.REFUSED_BY_CLUSTER}
"""Reasons that no waiting mends."""

Wait = Annotated[bool, Parameter(negative="--no-wait", help="Wait until it is done.")]
Patience = Annotated[str, Parameter(name="--timeout", help="How long to wait, such as 90s or 5m.")]


async def expose(
    name: Annotated[str, Parameter(help="NAMESPACE/NAME of the Service.")],
    /,
    *,
    hostname: Annotated[str | None, Parameter(help="Name of the device. Default: NAMESPACE-NAME.")] = None,
    tags: Annotated[str | None, Parameter(help="Comma-separated tags, such as tag:k8s.")] = None,
    mode: Annotated[str | None, Parameter(help="auto, kernel or userspace.")] = None,
    proxy_class: Annotated[str | None, Parameter(help="ProxyClass that shapes the proxy.")] = None,
    tailnet: Annotated[
        str | None, Parameter(help="Tailnet that it joins. Default: the operator's own.")
    ] = None,
    wait: Wait = True,
    patience: Patience = "2m",
    cluster: clusters.Target | None = None,
) -> int:
    """Make a Service a device of the tailnet, and print the URLs at which it answers.

    Example: `tailrace expose default/web --hostname web --tags tag:k8s,tag:web`
    """
    limit = parse_patience(patience)
    wanted = {
        names.EXPOSE: "true",
        names.HOSTNAME: hostname,
        names.TAGS: tags,
        names.MODE: mode,
        names.PROXY_CLASS: proxy_class,
        names.TAILNET: tailnet,
    }
    notes: dict[str, str | None] = {key: value for key, value in wanted.items() if value is not None}
    async with clusters.connect(cluster) as found:
        service = await clusters.get_service(found, name)
        operator = await clusters.find_operator(found)
        check_wish(service, notes, operator.defaults)
        changed = await annotate(found, service, notes, done="is to be exposed")
        if not wait:
            return Exit.OK
        return await wait_ready(found, service, changed=changed, limit=limit)


async def unexpose(
    name: Annotated[str, Parameter(help="NAMESPACE/NAME of the Service.")],
    /,
    *,
    wait: Wait = True,
    patience: Patience = "2m",
    cluster: clusters.Target | None = None,
) -> int:
    """Take a Service off the tailnet; its device and everything made for it is removed.

    Example: `tailrace unexpose default/web`
    """
    limit = parse_patience(patience)
    async with clusters.connect(cluster) as found:
        service = await clusters.get_service(found, name)
        operator = await clusters.find_operator(found)
        if wish.is_load_balancer(service, operator.defaults):
            raise errors.Usage(
                f"Service {describe(service)} is exposed by its loadBalancerClass, not by an annotation.",
                hint="change spec.type to ClusterIP, or delete the Service",
            )
        if is_egress(service) and names.EXPOSE not in service.metadata.annotations:
            raise errors.Usage(
                f"Service {describe(service)} leads out to the tailnet; it is not exposed.",
                hint=f"remove its annotation {names.TAILNET_FQDN} or {names.TAILNET_IP}, or delete the Service",
            )
        await annotate(found, service, dict.fromkeys(OURS), done="is to be exposed no longer")
        if not wait:
            return Exit.OK
        return await wait_gone(found, service, operator.defaults, limit=limit)


def parse_patience(text: str) -> float:
    try:
        return settings.parse_seconds(text).total_seconds()
    except ValueError as error:
        raise errors.Usage(f'--timeout "{text}" {error}.', hint="write --timeout 90s, for example") from None


def describe(service: kube.Service) -> str:
    return f"{service.metadata.namespace}/{service.metadata.name}"


def check_wish(service: kube.Service, notes: Mapping[str, str | None], defaults: Defaults) -> None:
    """Refuse before anything is changed what the operator would refuse after it.

    Raises:
        Usage: with the operator's own sentence.
    """
    merged = {**service.metadata.annotations, **notes}
    kept = {key: value for key, value in merged.items() if value is not None}
    metadata = msgspec.structs.replace(service.metadata, annotations=kept)
    exposed = msgspec.structs.replace(service, metadata=metadata)
    read = egress_request.read_request if is_egress(exposed) else request.read_request
    wish = read(exposed, defaults)
    wrong = wish.later or wish.violations or check_label(service, notes)
    if wrong:
        raise errors.Usage(f"{', '.join(wrong)}.", hint="nothing was changed")
    if not request.is_exposed(exposed, defaults):
        raise errors.Usage(
            f"Service {describe(service)} has no address that could be exposed.", hint="nothing was changed"
        )


def check_label(service: kube.Service, notes: Mapping[str, str | None]) -> list[str]:
    """Of two names of a ProxyClass the label's counts."""
    wanted, label = notes.get(names.PROXY_CLASS), service.metadata.labels.get(names.PROXY_CLASS)
    if wanted is None or label is None or wanted == label:
        return []
    return [
        f'the label {names.PROXY_CLASS} says "{label}" and counts more than --proxy-class {wanted}: change it'
    ]


async def annotate(
    cluster: Kube, service: kube.Service, notes: Mapping[str, str | None], *, done: str
) -> bool:
    """Change annotations, after saying where; nothing is sent when they are so already. Tells whether it was."""
    current, meta = service.metadata.annotations, service.metadata
    if all(current.get(key) == value for key, value in notes.items()):
        output.tell(f"Service {describe(service)} needs no change.")
        return False
    output.tell(f"cluster: {clusters.describe(cluster)}")
    await cluster.patch(
        resources.SERVICES, meta.name, meta.namespace, {"metadata": {"annotations": dict(notes)}}
    )
    output.tell(f"Service {describe(service)} {done}.")
    return True


# --- waiting ---------------------------------------------------------------------------------------------------


async def wait_ready(cluster: Kube, before: kube.Service, *, changed: bool, limit: float) -> int:
    """Wait for the operator's verdict and print it: the URLs, or why there are none."""
    clock = asyncio.get_running_loop().time
    started, verdict = clock(), read_verdict(before)
    old = verdict if changed else None
    with output.Progress() as progress:
        while True:
            service, waited = await look_again(cluster, before, progress), clock() - started
            if service is not None:
                verdict = read_verdict(service)
                fresh = verdict != old or waited > GRACE
                if fresh and is_final(verdict):
                    break
                progress.say(f"waiting: {describe_verdict(verdict)}" if fresh else "waiting for the operator")
            if waited > limit:
                break
            await asyncio.sleep(LOOK)
    ready, accepted = verdict
    if ready is not None and ready.status == "True":
        output.tell(f"Service {describe(before)} answers at:")
        print("\n".join(ready.message.split(", ")))
        return Exit.OK
    what = "is refused" if is_refused(accepted) else "is not ready"
    output.tell_error(
        f"Service {describe(before)} {what}: {describe_verdict(verdict)}",
        hint=f"tailrace explain {describe(before)} says more",
    )
    return Exit.NOT_READY


type Verdict = tuple[kube.Condition | None, kube.Condition | None]
"""Ready and Accepted."""


def read_verdict(service: kube.Service) -> Verdict:
    conditions = service.status.conditions
    return (
        kube.find_condition(conditions, ConditionType.READY),
        kube.find_condition(conditions, ConditionType.ACCEPTED),
    )


def is_final(verdict: Verdict) -> bool:
    """It answers, or somebody must change something."""
    ready, accepted = verdict
    if ready is None:
        return False
    return ready.status == "True" or ready.reason in REFUSED or is_refused(accepted)


def is_refused(accepted: kube.Condition | None) -> bool:
    return accepted is not None and accepted.status == "False"


def describe_verdict(verdict: Verdict) -> str:
    ready, _ = verdict
    return "no operator has looked at it yet" if ready is None else ready.message


async def wait_gone(cluster: Kube, before: kube.Service, defaults: Defaults, *, limit: float) -> int:
    """Wait until nothing of ours is left on the Service, which is the last that the operator removes."""
    clock = asyncio.get_running_loop().time
    started, ready = clock(), None
    with output.Progress() as progress:
        while clock() - started <= limit:
            service = await look_again(cluster, before, progress)
            if service is not None:
                if not view.concerns_us(service, defaults):
                    break
                ready, _ = read_verdict(service)
                progress.say("waiting for the operator to remove proxy and device")
            await asyncio.sleep(LOOK)
        else:
            said = f": {ready.message}" if ready is not None else ""
            output.tell_error(
                f"Service {describe(before)} has not been let go yet{said}",
                hint=f"tailrace explain {describe(before)} says what it waits for",
            )
            return Exit.NOT_READY
    output.tell(f"Service {describe(before)} is not exposed; nothing is left of its proxy and device.")
    return Exit.OK


async def look_again(cluster: Kube, before: kube.Service, progress: output.Progress) -> kube.Service | None:
    """The Service as it is now; None when the cluster does not answer, which is not the end of waiting.

    Raises:
        Usage: it was deleted meanwhile.
    """
    meta = before.metadata
    try:
        return await cluster.get(resources.SERVICES, meta.name, meta.namespace)
    except errors.NotFound:
        raise errors.Usage(
            f"Service {describe(before)} was deleted meanwhile.", hint="nothing is left to do"
        ) from None
    except errors.Transient as error:
        progress.say(f"{error} It is asked again.")
        return None
