"""The pod security standards: which pods the levels `baseline` and `restricted` refuse, and in which words.

Pure: a pod's metadata and spec in, violations out. `security` asks for them at admission. The checks are those of
Kubernetes 1.36 (https://kubernetes.io/docs/concepts/security/pod-security-standards/), messages included; a version
pinned by a namespace label is shown in messages, the checks are always the newest ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Doc = Mapping[str, Any]

LEVELS = ("privileged", "baseline", "restricted")  # from lax to strict


class Violation(NamedTuple):
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def check_pod(level: str, metadata: Doc, spec: Doc) -> list[Violation]:
    """What `level` refuses about this pod, in the order in which the API server names it."""
    return [violation for check in _CHECKS[level] if (violation := check(metadata, spec)) is not None]


def _containers(spec: Doc) -> Iterator[Doc]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _context(holder: Doc) -> Doc:
    return holder.get("securityContext") or {}


def _names(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _count(noun: str, items: list[str]) -> str:
    return f"{noun if len(items) == 1 else noun + 's'} {_names(items)}"


def _setters(spec: Doc, bad: Callable[[Doc], bool]) -> str:
    """Who sets something forbidden: `pod`, `container "a"`, `pod and containers "a", "b"`, or nobody."""
    found = ["pod"] if bad(_context(spec)) else []
    names = [c["name"] for c in _containers(spec) if bad(_context(c))]
    if names:
        found.append(_count("container", names))
    return " and ".join(found)


def _values(spec: Doc, read: Callable[[Doc], str | None]) -> list[str]:
    contexts = (_context(spec), *map(_context, _containers(spec)))
    return sorted({value for context in contexts if (value := read(context)) is not None})


def _privileged(_: Doc, spec: Doc) -> Violation | None:
    names = [c["name"] for c in _containers(spec) if _context(c).get("privileged")]
    if not names:
        return None
    return Violation(
        "privileged", f"{_count('container', names)} must not set securityContext.privileged=true"
    )


def _host_namespaces(_: Doc, spec: Doc) -> Violation | None:
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_path_volumes(_: Doc, spec: Doc) -> Violation | None:
    names = [v["name"] for v in spec.get("volumes") or () if "hostPath" in v]
    return Violation("hostPath volumes", _count("volume", names)) if names else None


def _host_ports(_: Doc, spec: Doc) -> Violation | None:
    names: list[str] = []
    ports: set[str] = set()
    for container in _containers(spec):
        found = {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        if found:
            names.append(container["name"])
            ports |= found
    if not names:
        return None
    verb, noun = "uses" if len(names) == 1 else "use", "hostPort" if len(ports) == 1 else "hostPorts"
    return Violation("hostPort", f"{_count('container', names)} {verb} {noun} {', '.join(sorted(ports))}")


def _host_probes(_: Doc, spec: Doc) -> Violation | None:
    names: set[str] = set()
    hosts: set[str] = set()
    for container in _containers(spec):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
        handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
        for handler in filter(None, handlers):
            for action in ("httpGet", "tcpSocket"):
                if host := (handler.get(action) or {}).get("host"):
                    names.add(container["name"])
                    hosts.add(host)
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    return Violation(
        "probe or lifecycle host",
        f"{_count('container', sorted(names))} {verb} {_count('probe or lifecycle host', sorted(hosts))}",
    )


_DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)


def _added_capabilities(spec: Doc, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    names: list[str] = []
    added: set[str] = set()
    for container in _containers(spec):
        extra = set((_context(container).get("capabilities") or {}).get("add") or ()) - allowed
        if extra:
            names.append(container["name"])
            added |= extra
    return names, sorted(added)


def _forbidden_add(names: list[str], added: list[str]) -> str:
    return (
        f"{_count('container', names)} must not include {_names(added)} in securityContext.capabilities.add"
    )


def _capabilities_baseline(_: Doc, spec: Doc) -> Violation | None:
    names, added = _added_capabilities(spec, _DEFAULT_CAPABILITIES)
    return Violation("non-default capabilities", _forbidden_add(names, added)) if names else None


def _capabilities_restricted(_: Doc, spec: Doc) -> Violation | None:
    if _is_windows(spec):
        return None
    keeping = [
        c["name"]
        for c in _containers(spec)
        if "ALL" not in ((_context(c).get("capabilities") or {}).get("drop") or ())
    ]
    details = []
    if keeping:
        details.append(f'{_count("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    names, added = _added_capabilities(spec, frozenset({"NET_BIND_SERVICE"}))
    if names:
        details.append(_forbidden_add(names, added))
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def _privilege_escalation(_: Doc, spec: Doc) -> Violation | None:
    if _is_windows(spec):
        return None
    names = [c["name"] for c in _containers(spec) if _context(c).get("allowPrivilegeEscalation") is not False]
    if not names:
        return None
    detail = f"{_count('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


_RESTRICTED_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_OTHER_VOLUMES = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
]


def _volume_types(_: Doc, spec: Doc) -> Violation | None:
    bad = [v for v in spec.get("volumes") or () if not _RESTRICTED_VOLUMES & v.keys()]
    if not bad:
        return None
    types = sorted({next((kind for kind in _OTHER_VOLUMES if kind in v), "unknown") for v in bad})
    verb = "uses" if len(bad) == 1 else "use"
    return Violation(
        "restricted volume types",
        f"{_count('volume', [v['name'] for v in bad])} {verb} {_count('restricted volume type', types)}",
    )


def _run_as_non_root(_: Doc, spec: Doc) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None
    reason = "runAsNonRoot != true"
    if setters := _setters(spec, lambda context: context.get("runAsNonRoot") is False):
        return Violation(reason, f"{setters} must not set securityContext.runAsNonRoot=false")
    if _context(spec).get("runAsNonRoot"):
        return None
    names = [c["name"] for c in _containers(spec) if _context(c).get("runAsNonRoot") is None]
    if not names:
        return None
    return Violation(
        reason, f"pod or {_count('container', names)} must set securityContext.runAsNonRoot=true"
    )


def _run_as_user(_: Doc, spec: Doc) -> Violation | None:
    if spec.get("hostUsers") is False:
        return None
    setters = _setters(spec, lambda context: context.get("runAsUser") == 0)
    return Violation("runAsUser=0", f"{setters} must not set runAsUser=0") if setters else None


def _seccomp_type(context: Doc) -> str | None:
    profile = context.get("seccompProfile")
    return None if profile is None else str(profile.get("type", ""))


def _bad_seccomp(context: Doc) -> bool:
    return _seccomp_type(context) not in (None, "RuntimeDefault", "Localhost")


def _seccomp_baseline(_: Doc, spec: Doc) -> Violation | None:
    setters = _setters(spec, _bad_seccomp)
    if not setters:
        return None
    values = _values(spec, lambda context: _seccomp_type(context) if _bad_seccomp(context) else None)
    return Violation(
        "seccompProfile", f"{setters} must not set securityContext.seccompProfile.type to {_names(values)}"
    )


def _seccomp_restricted(metadata: Doc, spec: Doc) -> Violation | None:
    if _is_windows(spec):
        return None
    if (violation := _seccomp_baseline(metadata, spec)) is not None or _seccomp_type(
        _context(spec)
    ) is not None:
        return violation
    names = [c["name"] for c in _containers(spec) if _seccomp_type(_context(c)) is None]
    if not names:
        return None
    return Violation(
        "seccompProfile",
        f"pod or {_count('container', names)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"',
    )


def _proc_mount(_: Doc, spec: Doc) -> Violation | None:
    bad = [c for c in _containers(spec) if _context(c).get("procMount") not in (None, "Default")]
    if not bad:
        return None
    types = sorted({str(_context(c)["procMount"]) for c in bad})
    names = _count("container", [c["name"] for c in bad])
    return Violation("procMount", f"{names} must not set securityContext.procMount to {_names(types)}")


def _proc_mount_baseline(metadata: Doc, spec: Doc) -> Violation | None:
    return None if spec.get("hostUsers") is False else _proc_mount(metadata, spec)


_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    ]
)


def _sysctls(_: Doc, spec: Doc) -> Violation | None:
    found = [s["name"] for s in _context(spec).get("sysctls") or () if s["name"] not in _SYSCTLS]
    return Violation("forbidden sysctls", ", ".join(found)) if found else None


_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})


def _bad_selinux(context: Doc) -> bool:
    options = context.get("seLinuxOptions") or {}
    return bool(options.get("type", "") not in _SELINUX_TYPES or options.get("user") or options.get("role"))


def _selinux(_: Doc, spec: Doc) -> Violation | None:
    setters = _setters(spec, _bad_selinux)
    if not setters:
        return None

    def option(name: str) -> list[str]:
        return _values(spec, lambda context: (context.get("seLinuxOptions") or {}).get(name))

    found = []
    if types := [t for t in option("type") if t not in _SELINUX_TYPES]:
        found.append(_count("type", types))
    found += [f"{name} may not be set" for name in ("user", "role") if any(option(name))]
    return Violation(
        "seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(found)}"
    )


_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def _app_armor(metadata: Doc, spec: Doc) -> Violation | None:
    def bad(context: Doc) -> bool:
        return (context.get("appArmorProfile") or {}).get("type") not in (None, "RuntimeDefault", "Localhost")

    setters = [s] if (s := _setters(spec, bad)) else []
    values = _values(spec, lambda context: context["appArmorProfile"]["type"] if bad(context) else None)
    annotations = sorted(
        f"{key}={json.dumps(value)}"
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(_APPARMOR_ANNOTATION)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if annotations:
        setters.append("annotation" if len(annotations) == 1 else "annotations")
        values += annotations
    if not setters:
        return None
    reason = "forbidden AppArmor profile" if len(values) == 1 else "forbidden AppArmor profiles"
    return Violation(
        reason, f"{' and '.join(setters)} must not set AppArmor profile type to {_names(values)}"
    )


def _windows_host_process(_: Doc, spec: Doc) -> Violation | None:
    setters = _setters(spec, lambda context: bool((context.get("windowsOptions") or {}).get("hostProcess")))
    if not setters:
        return None
    return Violation("hostProcess", f"{setters} must not set securityContext.windowsOptions.hostProcess=true")


def _is_windows(spec: Doc) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


_Check = Callable[[Doc, Doc], Violation | None]

# The order is the API server's: baseline checks by their ids, then restricted ones. A restricted check takes the
# place of the baseline check of the same matter (capabilities, volumes, procMount, seccomp).
_CHECKS: Mapping[str, tuple[_Check, ...]] = {
    "privileged": (),
    "baseline": (
        _app_armor,
        _capabilities_baseline,
        _host_namespaces,
        _host_path_volumes,
        _host_ports,
        _host_probes,
        _privileged,
        _proc_mount_baseline,
        _selinux,
        _seccomp_baseline,
        _sysctls,
        _windows_host_process,
    ),
    "restricted": (
        _app_armor,
        _host_namespaces,
        _host_ports,
        _host_probes,
        _privileged,
        _selinux,
        _sysctls,
        _windows_host_process,
        _privilege_escalation,
        _capabilities_restricted,
        _proc_mount,
        _volume_types,
        _run_as_non_root,
        _run_as_user,
        _seccomp_restricted,
    ),
}
