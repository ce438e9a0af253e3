"""Whether a ProxyClass can be used, in sentences for its condition.

The server has judged shapes already, by the schema and its rules. Here is what takes more than one field, or
something outside the object. Fields are named by their paths, as the official operator does, and its messages about
static endpoints are kept word by word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from tailrace.api import kube, proxyclass
from tailrace.api.conditions import ConditionType
from tailrace.api.proxyclass import PortRange, ProxyClass
from tailrace.proxy import extensions, overlay

_NAME = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"(?=.{{1,317}}\Z)((?=[^/]{{1,253}}/){_DNS}(\.{_DNS})*/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")
_HOST = (
    r"([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
)
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"({_HOST}(:[0-9]+)?/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}})?"
    r"(@[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_ANNOTATIONS_LIMIT = 256 * 1024  # bytes of all of an object's annotations together


def check_class(
    given: ProxyClass,
    *,
    others: Iterable[ProxyClass] = (),
    node_ports: PortRange | None = None,
    has_service_monitors: bool = True,
) -> tuple[str, ...]:
    """What is wrong with a class, one sentence each; nothing, and it can be used.

    `others` are the classes of the cluster, `node_ports` its range of node ports where that is known.
    """
    return (
        *_check_maps(given),
        *_check_containers(given.spec.statefulSet.pod),
        *_check_monitor(given, has_service_monitors),
        *_check_ports(given, others, node_ports),
        *extensions.read(given.metadata.annotations)[1],
        *_check_volumes(given),
    )


def describe(problems: Iterable[str]) -> str:
    """The message of the condition `ProxyClassReady` when there are some."""
    return f"ProxyClass is not valid: {'; '.join(problems)}"


def is_ready(given: ProxyClass) -> bool:
    """Was the class, as it is now, found valid?"""
    found = kube.find_condition(given.status.conditions, ConditionType.PROXY_CLASS_READY)
    generation = given.metadata.generation
    return found is not None and found.status == "True" and (found.observedGeneration or 0) == generation


def _check_maps(given: ProxyClass) -> Iterator[str]:
    sts, pod = given.spec.statefulSet, given.spec.statefulSet.pod
    patch = extensions.read(given.metadata.annotations)[0].patch.get("metadata", {})
    labels: dict[str, Mapping[str, str | None]] = {
        "spec.statefulSet.labels": sts.labels,
        "spec.statefulSet.pod.labels": pod.labels,
        f"annotation {extensions.POD_PATCH}: metadata.labels": patch.get("labels", {}),
    }
    if monitor := given.monitor:
        labels["spec.metrics.serviceMonitor.labels"] = monitor.labels
    for path, found in labels.items():
        yield from _check_keys(path, "label", found)
        for value in found.values():
            if value is not None and not _VALUE.fullmatch(value):
                yield f"{path}: {value!r} is no label value: at most 63 letters, digits, - _ . and no such mark at its ends"
    annotations: dict[str, Mapping[str, str | None]] = {
        "spec.statefulSet.annotations": sts.annotations,
        "spec.statefulSet.pod.annotations": pod.annotations,
        f"annotation {extensions.POD_PATCH}: metadata.annotations": patch.get("annotations", {}),
    }
    for path, found in annotations.items():
        yield from _check_keys(path, "annotation", found)
        if sum(len(f"{key}{value}".encode()) for key, value in found.items()) > _ANNOTATIONS_LIMIT:
            yield f"{path}: together they are over 256 KiB, more than an object may have"


def _check_keys(path: str, what: str, found: Iterable[str]) -> Iterator[str]:
    for key in found:
        # the prefix of an annotation may be written in capitals
        if not _KEY.fullmatch(key if what == "label" else _lower_prefix(key)):
            yield f"{path}: {key!r} is no {what} key: a name of at most 63 letters, digits, - _ . after an optional DNS name and /"


def _lower_prefix(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    return f"{prefix.lower()}{slash}{name}"


def _check_containers(pod: proxyclass.Pod) -> Iterator[str]:
    path = "spec.statefulSet.pod"
    for field in ("tailscaleContainer", "tailscaleInitContainer"):
        image: str = getattr(pod, field).image
        if image and not _IMAGE.fullmatch(image):
            yield f"{path}.{field}.image: {image!r} is no image reference, such as ghcr.io/tailscale/tailscale:stable"
    if pod.tailscaleInitContainer.debug is not None:
        yield f"{path}.tailscaleInitContainer.debug: the init container has no debug endpoint; take it out"


def _check_volumes(given: ProxyClass) -> Iterator[str]:
    extra, problems = extensions.read(given.metadata.annotations)
    if problems:
        return
    patched = extra.patch.get("spec", {}).get("volumes") or ()
    names = {volume.get("name") for volume in (*extra.volumes, *patched)} | overlay.OWN_VOLUMES
    for volume in extra.volumes:
        if volume["name"] in overlay.OWN_VOLUMES:
            yield f"annotation {extensions.VOLUMES}: the proxy has a volume {volume['name']} of its own; choose another name"
    for mount in extra.mounts:
        path = mount["mountPath"]
        if mount["name"] not in names:
            yield f"annotation {extensions.VOLUME_MOUNTS}: there is no volume {mount['name']}; add it to {extensions.VOLUMES}"
        if any(path.rstrip("/") == own or path.startswith(f"{own}/") for own in overlay.OWN_PATHS):
            yield f"annotation {extensions.VOLUME_MOUNTS}: {path} is the proxy's own; choose another path"


def _check_monitor(given: ProxyClass, has_service_monitors: bool) -> Iterator[str]:
    if given.monitor is not None and not has_service_monitors:
        yield (
            "spec.metrics.serviceMonitor: ProxyClass defines that a ServiceMonitor custom resource should be created, "
            'but "servicemonitors.monitoring.coreos.com" CRD was not found'
        )


def _check_ports(
    given: ProxyClass, others: Iterable[ProxyClass], node_ports: PortRange | None
) -> Iterator[str]:
    ranges = given.port_ranges
    for each in ranges:
        if node_ports is not None and not (node_ports.port <= each.port and each.last <= node_ports.last):
            yield f'range "{each}" is not within Cluster configured range "{node_ports}"'
    for each in ranges:
        if not each.port or each.last < each.port:
            yield f'port range "{each}" is invalid'
    for other in others:
        if other.metadata.name == given.metadata.name or not is_ready(other):
            continue
        if any(_clash(one, theirs) for one in ranges for theirs in other.port_ranges):
            names = (given.metadata.name, other.metadata.name)
            yield 'port ranges for ProxyClass "{}" clash with existing ProxyClass "{}"'.format(*names)
    for one, other_range in combinations(sorted(ranges, key=lambda each: each.port), 2):
        if _clash(one, other_range):
            yield f'overlapping ranges: "{one}" and "{other_range}"'


def _clash(one: PortRange, other: PortRange) -> bool:
    return one.port <= other.last and other.port <= one.last
