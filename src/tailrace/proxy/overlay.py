"""A ProxyClass over a proxy's manifest: the last step of building it.

What the class gives takes the place of ours or stands beside it; what it does not mention stays. Some things stay
ours whatever it says, since without them the proxy would not be found again or would lose its state: the labels and
annotations under `PROTECTED_…`, the service account, every container, volume and mount that we
made, and the variables of `PROTECTED_ENV`. The result is fit for server-side apply: no list has a key twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tailrace.api import names, proxyclass
from tailrace.api.proxyclass import ProxyClass
from tailrace.proxy import extensions, merge
from tailrace.proxy.merge import Item
from tailrace.proxy.metrics import PORT, ProxyType

CONTAINER = "tailscale"
INIT_CONTAINER = "sysctler"
PROTECTED_LABELS = frozenset({names.MANAGED, names.PARENT_TYPE, names.PARENT_NAME, names.PARENT_NAMESPACE})
"""Never the user's; nor is `app` where we set it, which is on the pods, as the selector of their StatefulSet."""

PROTECTED_PREFIXES = ("tailrace.dev/", "tailscale.com/operator-last-set-")
PROTECTED_ENV = frozenset(
    {"POD_IP", "POD_NAME", "POD_UID", "TS_KUBE_SECRET", "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR"}
)
"""The proxy's state Secret and where its configuration is mounted; a proxy with others could not start."""

OWN_VOLUMES = frozenset({"config", "tmp"})
"""The names of the volumes that we make, and the paths below which they are mounted; a class cannot take them."""
OWN_PATHS = ("/etc/tsconfig", "/tmp")

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
_POD_FIELDS = (
    "affinity",
    "securityContext",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "tolerations",
    "topologySpreadConstraints",
    "priorityClassName",
    "dnsPolicy",
    "dnsConfig",
)


def apply_class(manifest: Mapping[str, Any], proxy_class: ProxyClass, proxy: ProxyType) -> Item:
    """The StatefulSet of a proxy with the class over it; the manifest that was given stays as it is."""
    wanted = proxy_class.spec.statefulSet
    metadata = _overlay_metadata(manifest["metadata"], wanted.labels, wanted.annotations)
    template = overlay_template(manifest["spec"]["template"], proxy_class, proxy=proxy)
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], "template": template}}


def overlay_template(template: Mapping[str, Any], proxy_class: ProxyClass, proxy: ProxyType) -> Item:
    """The template of a proxy's pods with the class over it, or such a pod itself."""
    wanted = proxy_class.spec.statefulSet.pod
    extra, _ = extensions.read(proxy_class.metadata.annotations)
    spec = dict(template["spec"])
    _overlay_pod(spec, wanted)
    _overlay_containers(spec, proxy_class, proxy, extra)
    if extra.volumes:
        spec["volumes"] = merge.add_missing(spec.get("volumes", []), extra.volumes, "volumes")
    metadata = _overlay_metadata(template["metadata"], wanted.labels, wanted.annotations)
    patched = merge.merge({"metadata": metadata, "spec": spec}, extra.patch)
    return {
        **template,
        "metadata": _guard_metadata(template["metadata"], patched["metadata"]),
        "spec": merge.make_unique(_guard_spec(template["spec"], patched["spec"])),
    }


def _overlay_metadata(ours: Item, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Item:
    merged = {"labels": {**ours.get("labels", {}), **labels}}
    return _guard_metadata(ours, merged | {"annotations": {**ours.get("annotations", {}), **annotations}})


def _guard_metadata(ours: Item, found: Item) -> Item:
    """Our metadata with the labels and annotations that were found, as far as they are not ours to say."""
    guarded = dict(ours)
    for kind in ("labels", "annotations"):
        free = {key: value for key, value in found.get(kind, {}).items() if not is_protected(key)}
        kept = {
            key: value for key, value in ours.get(kind, {}).items() if is_protected(key) or key == names.APP
        }
        guarded[kind] = free | kept
        if not guarded[kind]:
            del guarded[kind]
    return guarded


def is_protected(key: str) -> bool:
    """Is this label or annotation the operator's alone?"""
    return key in PROTECTED_LABELS or key.startswith(PROTECTED_PREFIXES)


def _overlay_pod(spec: Item, wanted: proxyclass.Pod) -> None:
    """What was given takes the place of ours, and what was given empty takes ours away."""
    for field in _POD_FIELDS:
        given = getattr(wanted, field)
        if given is None:
            continue
        spec[field] = _to_document(given)
        if not spec[field]:
            del spec[field]


def _overlay_containers(
    spec: Item, proxy_class: ProxyClass, proxy: ProxyType, extra: extensions.Extensions
) -> None:
    wanted = proxy_class.spec.statefulSet.pod
    for field in ("containers", "initContainers"):
        if field in spec:
            spec[field] = [dict(container) for container in spec[field]]
    for container in spec["containers"]:
        if container["name"] == CONTAINER:
            _add_features(container, proxy_class, proxy)
            _overlay_container(container, wanted.tailscaleContainer)
            _extend(container, extra)
    for container in spec.get("initContainers", ()):
        if container["name"] == INIT_CONTAINER:
            _overlay_container(container, wanted.tailscaleInitContainer)


def _overlay_container(container: Item, wanted: proxyclass.Container) -> None:
    if wanted.image:
        container["image"] = wanted.image
    if wanted.imagePullPolicy:
        container["imagePullPolicy"] = wanted.imagePullPolicy
    if resources := _to_document(wanted.resources):
        container["resources"] = {**container.get("resources", {}), **resources}
    if wanted.securityContext is not None:
        container["securityContext"] = _to_document(wanted.securityContext)
    if wanted.env:
        fixed = PROTECTED_ENV if container["name"] == CONTAINER else frozenset()
        given = [each for each in _to_document(wanted.env) if each["name"] not in fixed]
        container["env"] = _overlay_env(container.get("env", []), given)


def _overlay_env(ours: list[Item], given: list[Item]) -> list[Item]:
    """Ours, then what is given. A variable has one place: it moves to the end with its new value, where what it
    refers to stands before it, unless a later one of ours refers to it.
    """
    new = {variable["name"]: variable for variable in given}
    front: list[Item] = []
    for index, variable in enumerate(ours):
        name = variable["name"]
        later = (other.get("value", "") for other in ours[index:] if other["name"] not in new)
        if name not in new or any(f"$({name})" in value for value in later):
            front.append(new.get(name, variable))
    placed = {variable["name"] for variable in front}
    return [*front, *(variable for name, variable in new.items() if name not in placed)]


def _add_features(container: Item, proxy_class: ProxyClass, proxy: ProxyType) -> None:
    """Metrics, debug endpoint and staging certificates, for the proxies that can have them."""
    env: dict[str, str] = {}
    ports: dict[str, int] = {}
    if proxy.can_be_measured and proxy_class.serves_debug:
        env["TS_DEBUG_ADDR_PORT"] = f"$(POD_IP):{proxyclass.DEBUG_PORT}"
        env["TS_TAILSCALED_EXTRA_ARGS"] = "--debug=$(TS_DEBUG_ADDR_PORT)"
        ports["debug"] = proxyclass.DEBUG_PORT
    if proxy.can_be_measured and proxy_class.serves_metrics:
        env["TS_LOCAL_ADDR_PORT"] = f"$(POD_IP):{proxyclass.METRICS_PORT}"
        env["TS_ENABLE_METRICS"] = "true"
        ports[PORT] = proxyclass.METRICS_PORT
    if proxy.serves_https and proxy_class.spec.useLetsEncryptStagingEnvironment:
        env["TS_DEBUG_ACME_DIRECTORY_URL"] = STAGING
    if env:
        items = [{"name": name, "value": value} for name, value in env.items()]
        container["env"] = merge.merge(container.get("env", []), items, field="env")
    if ports:
        listed = [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]
        container["ports"] = merge.merge(container.get("ports", []), listed, field="ports")


def _extend(container: Item, extra: extensions.Extensions) -> None:
    if extra.mounts:
        mounts = container.get("volumeMounts", [])
        container["volumeMounts"] = merge.add_missing(mounts, extra.mounts, "volumeMounts")
    if extra.env_from:
        sources = container.get("envFrom", [])
        container["envFrom"] = [*sources, *(source for source in extra.env_from if source not in sources)]


def _guard_spec(ours: Item, found: Item) -> Item:
    """What a patch has left of ours, with that put back which must not go."""
    guarded = {
        key: value for key, value in found.items() if key not in ("serviceAccount", "serviceAccountName")
    }
    if "serviceAccountName" in ours:
        guarded["serviceAccountName"] = ours["serviceAccountName"]
    if "volumes" in ours:
        guarded["volumes"] = merge.add_missing(ours["volumes"], found.get("volumes", []), "volumes")
    for field in ("containers", "initContainers"):
        if field in ours:
            left = {container["name"]: container for container in found.get(field, [])}
            kept = [_guard_container(each, left.get(each["name"], each)) for each in ours[field]]
            guarded[field] = merge.add_missing(kept, list(left.values()), field)
    return guarded


def _guard_container(ours: Item, found: Item) -> Item:
    guarded = dict(found)
    if "volumeMounts" in ours:
        mounts = found.get("volumeMounts", [])
        guarded["volumeMounts"] = merge.add_missing(ours["volumeMounts"], mounts, "volumeMounts")
    fixed = PROTECTED_ENV if ours["name"] == CONTAINER else frozenset()
    if kept := {each["name"]: each for each in ours.get("env", []) if each["name"] in fixed}:
        env = [kept.get(each["name"], each) for each in found.get("env", [])]
        present = {each["name"] for each in env}
        guarded["env"] = [each for name, each in kept.items() if name not in present] + env
    return guarded


def _to_document(value: Any) -> Any:
    """As it would be written in a manifest."""
    return msgspec.json.decode(msgspec.json.encode(value))
