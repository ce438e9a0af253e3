"""The StatefulSet of a proxy: one pod of the official image, privileged (kernel) or not at all (userspace).

Both pods mount of their Secret only what they must read, answer a real readiness probe, and keep the health port on
the pod's address: in userspace mode a port of the tailnet address without a serve entry leads to the pod's localhost.
"""

from __future__ import annotations

from typing import Any

from lightkube.models import apps_v1, core_v1, meta_v1

from tailrace.api import names
from tailrace.proxy import overlay, secret, spec
from tailrace.proxy.metrics import ProxyType

CONFIG_DIR = "/etc/tsconfig"
HEALTH_PORT = 9002
MEMORY_LIMIT = (
    "128MiB"  # GOMEMLIMIT: userspace tailscaled keeps its message buffers and grows past 500 MiB without
)
USER = 65532
GRACE = 5  # seconds: once the name that it leads to is gone, containerboot v1.102.5 heeds no request to end any more
APPS = {
    ProxyType.SERVICE: "k8s-operator-ingress-proxy",
    ProxyType.EGRESS: "k8s-operator-egress-proxy",
    ProxyType.CONNECTOR: "k8s-operator-connector-resource",
}
"""What tailscaled says of itself to the control plane, in the official operator's words."""

SYSCTL = (
    "echo 1 > /proc/sys/net/ipv4/ip_forward && "
    "if [ -f /proc/sys/net/ipv6/conf/all/forwarding ]; then echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; fi"
)


def build_statefulset(proxy: spec.ProxySpec) -> dict[str, Any]:
    """The StatefulSet as a manifest."""
    metadata = meta_v1.ObjectMeta(
        name=proxy.name,
        namespace=proxy.namespace,
        labels=dict(proxy.labels),
        annotations={names.PROXY_MODE: proxy.mode},
    )
    built = apps_v1.StatefulSet(
        apiVersion="apps/v1",
        kind="StatefulSet",
        metadata=metadata,
        spec=apps_v1.StatefulSetSpec(
            replicas=1,
            podManagementPolicy="Parallel",  # ordered, a pod that never gets ready would block its own mending
            serviceName=proxy.name,
            selector=meta_v1.LabelSelector(matchLabels=build_selector(proxy)),
            template=core_v1.PodTemplateSpec(
                metadata=meta_v1.ObjectMeta(
                    labels={**proxy.labels, **build_selector(proxy)},
                    annotations=build_pod_annotations(proxy) or None,
                ),
                spec=build_pod_spec(proxy),
            ),
        ),
    )
    manifest = to_manifest(built)
    if proxy.proxy_class is None:
        return manifest
    return overlay.apply_class(manifest, proxy.proxy_class, proxy=tell_type(proxy))


def tell_type(proxy: spec.ProxySpec) -> ProxyType:
    """What the proxy is for."""
    match proxy.target:
        case spec.TailnetAddress() | spec.TailnetName():
            return ProxyType.EGRESS
        case spec.Router():
            return ProxyType.CONNECTOR
        case spec.Address() | spec.DnsName() | spec.Forwards():
            return ProxyType.SERVICE


def build_selector(proxy: spec.ProxySpec) -> dict[str, str]:
    """Immutable, so what the official operator has, and of several proxies of a root the replica."""
    replica = {names.REPLICA: proxy.replica} if proxy.replica else {}
    return {names.APP: proxy.app, **replica}


def build_pod(proxy: spec.ProxySpec) -> dict[str, Any]:
    """The pod alone, as the StatefulSet would make it: for asking the API server whether it admits one."""
    pod = core_v1.Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=meta_v1.ObjectMeta(
            name=f"{proxy.name}-0",
            namespace=proxy.namespace,
            labels={**proxy.labels, **build_selector(proxy)},
        ),
        spec=build_pod_spec(proxy),
    )
    return to_manifest(pod)


def to_manifest(built: apps_v1.StatefulSet | core_v1.Pod) -> dict[str, Any]:
    manifest: dict[str, Any] = built.to_dict()
    manifest["apiVersion"], manifest["kind"] = built.apiVersion, built.kind
    return manifest


def build_pod_annotations(proxy: spec.ProxySpec) -> dict[str, str]:
    """Annotations of the pod template: what changes here restarts the pod, and is meant to."""
    found = {names.REPLACES: proxy.replaces, names.REFRESH: proxy.refresh}
    match proxy.target:
        case spec.Address(ip=ip):
            found[names.LAST_CLUSTER_IP] = ip
        case spec.DnsName(name=name):
            found[names.LAST_CLUSTER_DNS_NAME] = name
        case spec.TailnetAddress(ip=ip):
            found[names.LAST_TAILNET_IP] = ip
        case spec.TailnetName(fqdn=fqdn, addresses=addresses):
            found[names.LAST_TAILNET_FQDN] = f"{fqdn}."
            found[names.TARGET_ADDRESSES] = ",".join(addresses)
        case spec.Forwards() | spec.Router():
            pass
    return {key: value for key, value in found.items() if value}


def build_pod_spec(proxy: spec.ProxySpec) -> core_v1.PodSpec:
    userspace = proxy.mode is spec.Mode.USERSPACE
    volumes = [build_config_volume(proxy)]
    if userspace:
        volumes.append(core_v1.Volume(name="tmp", emptyDir=core_v1.EmptyDirVolumeSource()))
    return core_v1.PodSpec(
        serviceAccountName=proxy.name,
        priorityClassName=proxy.image.priority_class or None,
        terminationGracePeriodSeconds=GRACE if isinstance(proxy.target, spec.TailnetName) else None,
        affinity=build_affinity(proxy) if isinstance(proxy.target, spec.Router) else None,
        securityContext=build_pod_security() if userspace else None,
        initContainers=None if userspace else [build_sysctler(proxy)],
        containers=[build_container(proxy)],
        volumes=volumes,
    )


def build_affinity(proxy: spec.ProxySpec) -> core_v1.Affinity:
    """Replicas of a router keep apart from each other where they can: the loss of a node is not the loss of the route."""
    term = core_v1.PodAffinityTerm(
        topologyKey="kubernetes.io/hostname",
        labelSelector=meta_v1.LabelSelector(matchLabels={names.APP: proxy.app}),
    )
    apart = core_v1.WeightedPodAffinityTerm(weight=100, podAffinityTerm=term)
    return core_v1.Affinity(
        podAntiAffinity=core_v1.PodAntiAffinity(preferredDuringSchedulingIgnoredDuringExecution=[apart])
    )


def build_pod_security() -> core_v1.PodSecurityContext:
    return core_v1.PodSecurityContext(
        runAsNonRoot=True,
        runAsUser=USER,
        runAsGroup=USER,
        seccompProfile=core_v1.SeccompProfile(type="RuntimeDefault"),
    )


def build_sysctler(proxy: spec.ProxySpec) -> core_v1.Container:
    """The init container that lets the kernel forward; only a privileged one may."""
    return core_v1.Container(
        name="sysctler",
        image=proxy.image.image,
        command=["/bin/sh", "-c"],
        args=[SYSCTL],
        securityContext=core_v1.SecurityContext(privileged=True),
    )


def build_container(proxy: spec.ProxySpec) -> core_v1.Container:
    userspace = proxy.mode is spec.Mode.USERSPACE
    mounts = [
        core_v1.VolumeMount(name="config", mountPath=f"{CONFIG_DIR}/{proxy.secret_name}", readOnly=True),
    ]
    if userspace:
        mounts.append(core_v1.VolumeMount(name="tmp", mountPath="/tmp"))
        security = core_v1.SecurityContext(
            allowPrivilegeEscalation=False,
            readOnlyRootFilesystem=True,
            capabilities=core_v1.Capabilities(drop=["ALL"]),
        )
    else:
        security = core_v1.SecurityContext(privileged=True)
    return core_v1.Container(
        name="tailscale",
        image=proxy.image.image,
        env=build_env(proxy),
        securityContext=security,
        resources=core_v1.ResourceRequirements(requests={"cpu": "1m", "memory": "1Mi"}),
        readinessProbe=build_probe(proxy),
        volumeMounts=mounts,
    )


def build_probe(proxy: spec.ProxySpec) -> core_v1.Probe:
    """containerboot's health check. What comes to the pod's address of an egress proxy is led away to its target, the
    kubelet's questions too, so there the check is asked from inside."""
    if tell_type(proxy) is ProxyType.EGRESS:
        url = f"http://127.0.0.1:{HEALTH_PORT}/healthz"
        inside = core_v1.ExecAction(command=["wget", "-q", "-O", "/dev/null", url])
        return core_v1.Probe(exec=inside, periodSeconds=2, failureThreshold=3)
    outside = core_v1.HTTPGetAction(path="/healthz", port=HEALTH_PORT)
    return core_v1.Probe(httpGet=outside, periodSeconds=2, failureThreshold=3)


def build_env(proxy: spec.ProxySpec) -> list[core_v1.EnvVar]:
    """containerboot's environment. Order matters: `$(POD_IP)` refers to what stands before."""
    values = [
        core_v1.EnvVar(name="TS_USERSPACE", value="true" if proxy.mode is spec.Mode.USERSPACE else "false"),
        build_field_env("POD_IP", "status.podIP"),
        build_field_env("POD_NAME", "metadata.name"),
        build_field_env("POD_UID", "metadata.uid"),
    ]
    folder = f"{CONFIG_DIR}/{proxy.secret_name}"
    plain = {
        "TS_KUBE_SECRET": proxy.secret_name,
        "TS_EXPERIMENTAL_SERVICE_AUTO_ADVERTISEMENT": "false",
        "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR": folder,
        "TS_ENABLE_HEALTH_CHECK": "true",
        "TS_LOCAL_ADDR_PORT": f"{'127.0.0.1' if tell_type(proxy) is ProxyType.EGRESS else '$(POD_IP)'}:{HEALTH_PORT}",
        "TS_DEBUG_FIREWALL_MODE": "" if proxy.mode is spec.Mode.USERSPACE else proxy.image.firewall_mode,
        "TS_NO_LOGS_NO_SUPPORT": "true" if proxy.image.private_logs else "",
        "SSL_CERT_FILE": f"{folder}/{secret.CA}" if proxy.image.ca_pem else "",
    }
    match proxy.target:
        case spec.Address(ip=ip):
            plain["TS_DEST_IP"] = ip
        case spec.DnsName(name=name):
            plain["TS_EXPERIMENTAL_DEST_DNS_NAME"] = name
        case spec.TailnetAddress(ip=ip):
            plain["TS_TAILNET_TARGET_IP"] = ip
        case spec.TailnetName(fqdn=fqdn):
            plain["TS_TAILNET_TARGET_FQDN"] = f"{fqdn}."
        case spec.Forwards():
            plain["TS_SERVE_CONFIG"] = f"{folder}/{secret.SERVE}"
        case spec.Router():
            pass
    if proxy.mode is spec.Mode.USERSPACE:
        plain["GOMEMLIMIT"] = MEMORY_LIMIT
    plain["TS_INTERNAL_APP"] = APPS[tell_type(proxy)]
    return values + [core_v1.EnvVar(name=name, value=value) for name, value in plain.items() if value]


def build_field_env(name: str, path: str) -> core_v1.EnvVar:
    return core_v1.EnvVar(
        name=name, valueFrom=core_v1.EnvVarSource(fieldRef=core_v1.ObjectFieldSelector(fieldPath=path))
    )


def build_config_volume(proxy: spec.ProxySpec) -> core_v1.Volume:
    """Of the Secret only the configuration; the node's private keys in it are not mounted anywhere."""
    keys = [secret.CONFIG]
    if isinstance(proxy.target, spec.Forwards):
        keys.append(secret.SERVE)
    if proxy.image.ca_pem:
        keys.append(secret.CA)
    items = [core_v1.KeyToPath(key=key, path=key) for key in keys]
    return core_v1.Volume(
        name="config", secret=core_v1.SecretVolumeSource(secretName=proxy.secret_name, items=items)
    )
