"""`tailrace expose` and `tailrace unexpose`: set and take away the annotations, nothing else."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from tailrace import errors
from tailrace.api import names
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.kinds.service import request
from tailrace.kube import resources

OURS = (names.EXPOSE, names.HOSTNAME, names.TAGS, names.MODE)


async def expose(
    name: Annotated[str, Parameter(help="NAMESPACE/NAME of the Service.")],
    /,
    *,
    hostname: Annotated[str | None, Parameter(help="Name of the device.")] = None,
    tags: Annotated[str | None, Parameter(help="Comma-separated tags, such as tag:k8s.")] = None,
    mode: Annotated[str | None, Parameter(help="auto, kernel or userspace.")] = None,
    cluster: clusters.Target | None = None,
) -> int:
    """Make a Service a device of the tailnet."""
    wanted = {names.EXPOSE: "true", names.HOSTNAME: hostname, names.TAGS: tags, names.MODE: mode}
    notes: dict[str, str | None] = {key: value for key, value in wanted.items() if value is not None}
    return await annotate(name, notes, cluster, done="is exposed: `tailrace status` shows when it answers")


async def unexpose(
    name: Annotated[str, Parameter(help="NAMESPACE/NAME of the Service.")],
    /,
    *,
    cluster: clusters.Target | None = None,
) -> int:
    """Take a Service off the tailnet; its device and everything made for it is removed."""
    return await annotate(name, dict.fromkeys(OURS), cluster, done="is no longer exposed")


async def annotate(
    name: str, notes: dict[str, str | None], cluster: clusters.Target | None, *, done: str
) -> int:
    """Change annotations, after saying where; nothing is sent when they are so already."""
    async with clusters.connect(cluster) as found:
        namespace, service_name = clusters.parse_name(name, found.namespace)
        service = await clusters.get_service(found, namespace, service_name)
        current = service.metadata.annotations
        kept = {key: value for key, value in {**current, **notes}.items() if value is not None}
        defaults = clusters.read_defaults()
        after = type(service)(
            metadata=type(service.metadata)(
                name=service_name, namespace=namespace, labels=service.metadata.labels, annotations=kept
            ),
            spec=service.spec,
        )
        wrong = request.read_request(after, defaults).violations
        if wrong:
            raise errors.Usage(f"{wrong[0]}.", hint="nothing was changed")
        if notes.get(names.EXPOSE) is None and request.is_load_balancer(service, defaults):
            raise errors.Usage(
                f"Service {namespace}/{service_name} is exposed by its loadBalancerClass, not by an annotation.",
                hint="change spec.type to ClusterIP, or delete the Service",
            )
        if all(current.get(key) == value for key, value in notes.items()):
            output.tell(f"Service {namespace}/{service_name} {done} (nothing to change).")
            return Exit.OK
        output.tell(f"cluster: {clusters.describe(found)}")
        await found.patch(resources.SERVICES, service_name, namespace, {"metadata": {"annotations": notes}})
        output.tell(f"Service {namespace}/{service_name} {done}.")
        return Exit.OK
