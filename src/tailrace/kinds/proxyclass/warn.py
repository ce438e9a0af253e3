"""What a valid ProxyClass asks for that will not work here, or not as its author may think.

Told on the class, so that it is read before a proxy fails. The cluster has the last word: these sentences refuse
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.api import names, proxyclass
from tailrace.api.proxyclass import ProxyClass
from tailrace.proxy import extensions, overlay
from tailrace.proxy.metrics import ProxyType
from tailrace.proxy.spec import Mode

_CUSTOM_ENV = (
    "ProxyClass overrides the default value for {} env var for tailscale container. Running with custom values for "
    "Tailscale env vars is not recommended and might break in the future."
)
_OTHER_VARIABLES = {
    "EXPERIMENTAL_TS_CONFIGFILE_PATH",
    "EXPERIMENTAL_ALLOW_PROXYING_CLUSTER_TRAFFIC_VIA_INGRESS",
}


def warn_variables(given: ProxyClass) -> tuple[str, ...]:
    """For the events `CustomTSEnvVar`, in the official operator's words; then the variables that stay ours."""
    variables = [each.name for each in given.spec.statefulSet.pod.tailscaleContainer.env]
    custom = [name for name in variables if name.startswith("TS_") or name.upper() in _OTHER_VARIABLES]
    return (
        *(_CUSTOM_ENV.format(name) for name in custom if name not in overlay.PROTECTED_ENV),
        *(
            f"The variable {name} stays the operator's: without it the proxy would not find its state."
            for name in variables
            if name in overlay.PROTECTED_ENV
        ),
    )


def warn_class(given: ProxyClass, *, mode: Mode | None = None, pod_security: str = "") -> tuple[str, ...]:
    """What a valid class asks for that the installation forbids or that has no effect, one sentence each.

    `mode` is how proxies forward here if they all forward one way (None: it differs), `pod_security` the level that
    the operator's namespace enforces (`baseline`, `restricted`; empty or `privileged`: none).
    """
    return (*_warn_mode(given, mode), *_warn_security(given, pod_security), *_warn_protected(given))


def _warn_mode(given: ProxyClass, mode: Mode | None) -> Iterator[str]:
    pod = given.spec.statefulSet.pod
    if mode is Mode.USERSPACE:
        if pod.tailscaleInitContainer != proxyclass.Container():
            yield (
                "spec.statefulSet.pod.tailscaleInitContainer has no effect: proxies run in userspace mode here and "
                "have no init container."
            )
        if given.spec.tailscale.acceptRoutes:
            yield (
                "spec.tailscale.acceptRoutes does little for the proxies of Services here: in userspace mode they "
                "answer devices behind a router, but nothing of the cluster can send to such a device through them."
            )
    if mode is not Mode.USERSPACE and (context := pod.tailscaleContainer.securityContext) is not None:
        added = context.capabilities.add if context.capabilities else ()
        if not context.privileged and "NET_ADMIN" not in added:
            yield (
                "spec.statefulSet.pod.tailscaleContainer.securityContext takes kernel mode the right to make a "
                "network device: give it `privileged: true`, or NET_ADMIN and NET_RAW and the device /dev/net/tun."
            )


def _warn_security(given: ProxyClass, level: str) -> Iterator[str]:
    """Asked of the pod that asks for least, so that what is told is the doing of the class."""
    if level not in ("baseline", "restricted"):
        return
    template = overlay.overlay_template(_LEAST, given, ProxyType.SERVICE)
    found = [*_list_baseline(template["spec"])]
    if level == "restricted":
        found += _list_restricted(template["spec"])
    for what in found:
        yield f"{what} is not admitted: the operator's namespace enforces pod-security {level}."


_LEAST: Mapping[str, Any] = {
    "metadata": {},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": overlay.CONTAINER,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
_BASELINE_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
_RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
}  # fmt: skip


def _list_baseline(spec: Mapping[str, Any]) -> Iterator[str]:
    """What of a pod the level `baseline` forbids. Source: Kubernetes documentation, "Pod Security Standards"."""
    yield from (f"{field}: true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field))
    yield from (f"volume {each['name']} (hostPath)" for each in spec.get("volumes", ()) if "hostPath" in each)
    for container in _list_containers(spec):
        context, name = container.get("securityContext", {}), container["name"]
        if context.get("privileged"):
            yield f"container {name} with privileged: true"
        if added := sorted(set(_capabilities(context, "add")) - _BASELINE_CAPABILITIES):
            yield f"container {name} with the capabilities {', '.join(added)}"
        if any(port.get("hostPort") for port in container.get("ports", ())):
            yield f"container {name} with a hostPort"
    for owner, context in _list_contexts(spec):
        if context.get("seccompProfile", {}).get("type") == "Unconfined":
            yield f"{owner} with seccompProfile Unconfined"


def _list_restricted(spec: Mapping[str, Any]) -> Iterator[str]:
    """What `restricted` forbids beside."""
    for volume in spec.get("volumes", ()):
        if kinds := sorted(volume.keys() - {"name", "hostPath"} - _RESTRICTED_VOLUMES):
            yield f"volume {volume['name']} ({kinds[0]})"
    above = spec.get("securityContext", {})
    for container in _list_containers(spec):
        context, name = container.get("securityContext", {}), container["name"]
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"container {name} without allowPrivilegeEscalation: false"
        if "ALL" not in _capabilities(context, "drop"):
            yield f"container {name} without dropping the capabilities ALL"
        if set(_capabilities(context, "add")) & (_BASELINE_CAPABILITIES - {"NET_BIND_SERVICE"}):
            yield f"container {name} with capabilities beside NET_BIND_SERVICE"
        if not context.get("runAsNonRoot", above.get("runAsNonRoot")):
            yield f"container {name} without runAsNonRoot: true"
        if context.get("seccompProfile", above.get("seccompProfile")) is None:
            yield f"container {name} without a seccompProfile"
    for owner, context in _list_contexts(spec):
        if context.get("runAsUser") == 0:
            yield f"{owner} with runAsUser: 0"


def _list_containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", ()), *spec.get("containers", ())]


def _list_contexts(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "the pod", spec.get("securityContext", {})
    for container in _list_containers(spec):
        yield f"container {container['name']}", container.get("securityContext", {})


def _capabilities(context: Mapping[str, Any], what: str) -> list[str]:
    found: list[str] = context.get("capabilities", {}).get(what, [])
    return found


def _warn_protected(given: ProxyClass) -> Iterator[str]:
    """Labels, annotations and fields of a patch that stay ours."""
    sts = given.spec.statefulSet
    patch = extensions.read(given.metadata.annotations)[0].patch
    maps = [sts.labels, sts.annotations, sts.pod.labels, sts.pod.annotations]
    maps += [patch.get("metadata", {}).get(kind, {}) for kind in ("labels", "annotations")]
    keys = {key for found in maps for key in found if overlay.is_protected(key)}
    if names.APP in sts.pod.labels:
        keys.add(names.APP)
    if keys:
        yield f"These labels and annotations stay the operator's: {', '.join(sorted(keys))}."
    if patch.get("spec", {}).keys() & {"serviceAccountName", "serviceAccount"}:
        yield f"annotation {extensions.POD_PATCH}: serviceAccountName stays the operator's; each proxy has its own."
