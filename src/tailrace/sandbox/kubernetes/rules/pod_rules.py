"""Pods and pod templates: containers, volumes, probes, and what may change in a pod that runs.

Place: `builtin_rules.RULES` for pods, `workload_rules` for templates.
Source: `pkg/apis/core/validation` (validation.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents.schema import copy_of
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules import volume_rules
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check, check_named, check_one_of

PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_ID: Final = "must be between 0 and 2147483647, inclusive"
_SECONDS: Final = "must be between 1 and 2147483647, inclusive"


def check_pod(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    yield from check_pod_spec(spec, "spec")
    if old is not None:
        yield from _check_update(spec, old.get("spec") or {})


def check_template(template: Doc, path: str, claims: Sequence[str] = ()) -> Iterator[FieldError]:
    """A pod template; `claims` are volumes that come from elsewhere (a StatefulSet's claim templates)."""
    metadata = template.get("metadata") or {}
    # The server leaves out `metadata` in these two paths.
    yield from fe.check_labels(f"{path}.labels", metadata.get("labels"))
    for key in metadata.get("annotations") or ():
        yield from check(f"{path}.annotations", key, fe.qualified_name)
    yield from check_pod_spec(template.get("spec") or {}, f"{path}.spec", claims)


def check_pod_spec(spec: Doc, path: str, claims: Sequence[str] = ()) -> Iterator[FieldError]:
    volumes = [*claims]
    for at, volume in enumerate(spec.get("volumes") or ()):
        yield from volume_rules.check_volume(volume, f"{path}.volumes[{at}]", volumes)
        volumes.append(volume.get("name", ""))
    yield from _check_containers(spec, path, volumes)
    yield from _check_policies(spec, path)
    yield from _check_names(spec, path)
    for at, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _check_toleration(toleration, f"{path}.tolerations[{at}]")
    for at, alias in enumerate(spec.get("hostAliases") or ()):
        here = f"{path}.hostAliases[{at}]"
        yield from check(f"{here}.ip", alias.get("ip", ""), fe.ip_address)
        for position, name in enumerate(alias.get("hostnames") or ()):
            yield from check(f"{here}.hostnames[{position}]", name, fe.subdomain)
    for at, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        yield from _check_spread(spread, f"{path}.topologySpreadConstraints[{at}]")
    yield from _check_pod_security(spec.get("securityContext") or {}, f"{path}.securityContext")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        yield fe.invalid_value(f"{path}.activeDeadlineSeconds", deadline, _SECONDS)


def _check_policies(spec: Doc, path: str) -> Iterator[FieldError]:
    if "restartPolicy" in spec:
        allowed = ("Always", "OnFailure", "Never")
        yield from check_one_of(f"{path}.restartPolicy", spec["restartPolicy"], allowed)
    if policy := spec.get("dnsPolicy"):
        policies = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
        yield from check_one_of(f"{path}.dnsPolicy", policy, policies)
    config = spec.get("dnsConfig") or {}
    if spec.get("dnsPolicy") == "None" and not config:
        yield fe.required(f"{path}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
    elif spec.get("dnsPolicy") == "None" and not config.get("nameservers"):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield fe.required(f"{path}.dnsConfig.nameservers", text)
    for at, address in enumerate(config.get("nameservers") or ()):
        yield from check(f"{path}.dnsConfig.nameservers[{at}]", address, fe.ip_address)


def _check_names(spec: Doc, path: str) -> Iterator[FieldError]:
    for field, rule in (
        ("serviceAccountName", fe.subdomain),
        ("nodeName", fe.subdomain),
        ("hostname", fe.label),
        ("subdomain", fe.label),
    ):
        if value := spec.get(field):
            yield from check(f"{path}.{field}", value, rule)
    yield from fe.check_labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    for at, gate in enumerate(spec.get("readinessGates") or ()):
        name = gate.get("conditionType", "")
        yield from check(f"{path}.readinessGates[{at}].conditionType", name, fe.qualified_name)


def _check_toleration(toleration: Doc, path: str) -> Iterator[FieldError]:
    key, operator = toleration.get("key", ""), toleration.get("operator") or "Equal"
    if key:
        yield from check(f"{path}.key", key, fe.qualified_name)
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield fe.invalid_value(f"{path}.operator", operator, text)
    if operator == "Exists" and (value := toleration.get("value")):
        yield fe.invalid_value(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
    elif operator not in ("Equal", "Exists"):
        yield fe.unsupported(f"{path}.operator", operator, ("Equal", "Exists"))
    if effect := toleration.get("effect"):
        yield from check_one_of(f"{path}.effect", effect, ("NoSchedule", "PreferNoSchedule", "NoExecute"))


def _check_spread(spread: Doc, path: str) -> Iterator[FieldError]:
    if spread.get("maxSkew", 0) <= 0:
        yield fe.invalid_value(f"{path}.maxSkew", spread.get("maxSkew", 0), "must be greater than zero")
    if not spread.get("topologyKey"):
        yield fe.required(f"{path}.topologyKey", "can not be empty")
    allowed = ("DoNotSchedule", "ScheduleAnyway")
    yield from check_one_of(f"{path}.whenUnsatisfiable", spread.get("whenUnsatisfiable"), allowed)


_SYSCTL: Final = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"


def _check_pod_security(context: Doc, path: str) -> Iterator[FieldError]:
    yield from _check_ids(context, path, "runAsUser", "runAsGroup", "fsGroup")
    yield from _check_seccomp(context, path)
    for at, sysctl in enumerate(context.get("sysctls") or ()):
        name = sysctl.get("name", "")
        here = f"{path}.sysctls[{at}].name"
        if not name:
            yield fe.required(here)
        elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            yield fe.invalid_value(
                here, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"
            )


def _check_ids(context: Doc, path: str, *fields: str) -> Iterator[FieldError]:
    for field in fields:
        value = context.get(field)
        if value is not None and not 0 <= value < 2**31:
            yield fe.invalid_value(f"{path}.{field}", value, _ID)


def _check_seccomp(context: Doc, path: str) -> Iterator[FieldError]:
    if (profile := context.get("seccompProfile")) is not None:
        allowed = ("Localhost", "RuntimeDefault", "Unconfined")
        yield from check_one_of(f"{path}.seccompProfile.type", profile.get("type"), allowed)


# Containers -------------------------------------------------------------------------------------------------------


def _check_containers(spec: Doc, path: str, volumes: Sequence[str]) -> Iterator[FieldError]:
    containers = spec.get("containers") or ()
    host = bool(spec.get("hostNetwork"))
    if not containers:
        yield fe.required(f"{path}.containers")
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        for at, container in enumerate(spec.get(field) or ()):
            here, name = f"{path}.{field}[{at}]", container.get("name") or ""
            yield from check_named(f"{here}.name", name, fe.label)
            if name and name in names:
                yield fe.duplicate(f"{here}.name", name)
            names.add(name)
            yield from _check_container(container, here, volumes, host)
            if field == "initContainers":
                yield from _check_init(container, here)


def _check_init(container: Doc, path: str) -> Iterator[FieldError]:
    """A sidecar (`restartPolicy: Always`) may have what a main container has."""
    policy = container.get("restartPolicy")
    if policy is not None:
        yield from check_one_of(f"{path}.restartPolicy", policy, ("Always", "Never", "OnFailure"))
    if policy == "Always":
        return
    for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if field in container:
            text = "may not be set for init containers without restartPolicy=Always"
            yield fe.forbidden(f"{path}.{field}", text)


def _check_container(container: Doc, path: str, volumes: Sequence[str], host: bool) -> Iterator[FieldError]:
    image = container.get("image") or ""
    if not image:
        yield fe.required(f"{path}.image")
    elif image != image.strip():
        yield fe.invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace")
    if policy := container.get("terminationMessagePolicy"):
        yield from check_one_of(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError"))
    if policy := container.get("imagePullPolicy"):
        yield from check_one_of(f"{path}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never"))
    yield from _check_ports(container.get("ports") or (), f"{path}.ports", host)
    for at, variable in enumerate(container.get("env") or ()):
        yield from _check_variable(variable, f"{path}.env[{at}]")
    for source in container.get("envFrom") or ():
        if not source.keys() & {"configMapRef", "secretRef"}:
            yield fe.invalid_value(
                f"{path}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`"
            )
    for at, source in enumerate(container.get("envFrom") or ()):
        for field in ("configMapRef", "secretRef"):
            if field in source:
                name = (source[field] or {}).get("name")
                yield from check_named(f"{path}.envFrom[{at}].{field}.name", name, fe.subdomain)
    yield from volume_rules.check_mounts(container.get("volumeMounts") or (), f"{path}.volumeMounts", volumes)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(field)) is not None:
            yield from _check_probe(probe, f"{path}.{field}")
            threshold = probe.get("successThreshold", 1)
            if field != "readinessProbe" and threshold != 1:
                yield fe.invalid_value(f"{path}.{field}.successThreshold", threshold, "must be 1")
    yield from _check_resources(container.get("resources") or {}, f"{path}.resources")
    yield from _check_security(container.get("securityContext") or {}, f"{path}.securityContext")


def _check_ports(ports: Sequence[Doc], path: str, host: bool) -> Iterator[FieldError]:
    names: set[str] = set()
    for at, port in enumerate(ports):
        here, number, outside = f"{path}[{at}]", port.get("containerPort") or 0, port.get("hostPort") or 0
        if name := port.get("name"):
            yield from check(f"{here}.name", name, fe.port_name)
            if name in names:
                yield fe.duplicate(f"{here}.name", name)
            names.add(name)
        if not number:
            yield fe.required(f"{here}.containerPort")
        else:
            yield from fe.check_port(f"{here}.containerPort", number)
        if outside:
            yield from fe.check_port(f"{here}.hostPort", outside)
        if host and outside and outside != number:
            text = "must match `containerPort` when `hostNetwork` is true"
            yield fe.invalid_value(f"{here}.hostPort", outside, text)
        yield from check_one_of(f"{here}.protocol", port.get("protocol"), PROTOCOLS)


_FIELD_PATHS: Final = frozenset(
    [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ]
)
_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _check_variable(variable: Doc, path: str) -> Iterator[FieldError]:
    name = variable.get("name") or ""
    if not name:
        yield fe.required(f"{path}.name")
    elif not re.fullmatch(r"[ -<>-~]+", name):
        text = (
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
        yield fe.invalid_value(f"{path}.name", name, text)
    source = variable.get("valueFrom")
    if source is None:
        return
    here, chosen = f"{path}.valueFrom", [key for key in _SOURCES if key in source]
    if not chosen:
        listed = ", ".join(f"`{key}`" for key in _SOURCES[:-1])
        yield fe.invalid_value(here, "", f"must specify one of: {listed} or `{_SOURCES[-1]}`")
    elif variable.get("value"):
        yield fe.invalid_value(here, "", "may not be specified when `value` is not empty")
    elif len(chosen) > 1:
        yield fe.invalid_value(here, "", "may not have more than one field specified at a time")
    for key in chosen:
        yield from _check_source(source[key], f"{here}.{key}", key)


def _check_source(source: Doc, path: str, key: str) -> Iterator[FieldError]:
    if key in ("configMapKeyRef", "secretKeyRef"):
        yield from check(f"{path}.name", source.get("name") or "", fe.subdomain)
        yield from check_named(f"{path}.key", source.get("key"), fe.config_key)
    elif key == "fieldRef":
        field = source.get("fieldPath") or ""
        if not field:
            yield fe.required(f"{path}.fieldPath")
        elif field not in _FIELD_PATHS and not re.fullmatch(r"metadata\.(labels|annotations)\['.+'\]", field):
            text = f"error converting fieldPath: field label not supported: {field}"
            yield fe.invalid_value(f"{path}.fieldPath", field, text)


_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")


def _check_probe(probe: Doc, path: str) -> Iterator[FieldError]:
    chosen = [handler for handler in _HANDLERS if handler in probe]
    if not chosen:
        yield fe.required(path, "must specify a handler type")
    for extra in chosen[1:]:
        yield fe.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for handler in chosen[:1]:
        here, facts = f"{path}.{handler}", probe[handler] or {}
        if handler == "exec":
            if not facts.get("command"):
                yield fe.required(f"{here}.command")
            continue
        if handler == "httpGet" and not facts.get("path"):
            yield fe.required(f"{here}.path")
        yield from fe.check_port(f"{here}.port", facts.get("port"))
        if handler == "httpGet":
            yield from check_one_of(f"{here}.scheme", facts.get("scheme"), ("HTTP", "HTTPS"))
    fields = (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    )
    yield from fe.check_not_negative(probe, path, *fields)


def _check_security(context: Doc, path: str) -> Iterator[FieldError]:
    yield from _check_ids(context, path, "runAsUser", "runAsGroup")
    if mount := context.get("procMount"):
        yield from check_one_of(f"{path}.procMount", mount, ("Default", "Unmasked"))
    yield from _check_seccomp(context, path)
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        yield fe.invalid_value(path, _as_internal(context), text)


_SECURITY_FIELDS: Final = [
    "capabilities",
    "privileged",
    "seLinuxOptions",
    "windowsOptions",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "readOnlyRootFilesystem",
    "allowPrivilegeEscalation",
    "procMount",
    "seccompProfile",
    "appArmorProfile",
]


def _as_internal(context: Doc) -> Doc:
    """As the server prints its own type, which has no JSON names."""
    names = {"seLinuxOptions": "SELinuxOptions"}
    return {names.get(f, f[0].upper() + f[1:]): context.get(f) for f in _SECURITY_FIELDS}


_STANDARD_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})


def _check_resources(resources: Doc, path: str) -> Iterator[FieldError]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            yield from _check_amount(name, text, f"{path}.{field}[{name}]")
    for name, text in requests.items():
        asked, limit = fe.quantity(text), fe.quantity(limits.get(name, ""))
        if asked is not None and limit is not None and asked > limit:
            words = f"must be less than or equal to {name} limit of {limits[name]}"
            yield fe.invalid_value(f"{path}.requests", str(text), words)
        elif limit is None and "/" in name:
            yield fe.required(f"{path}.limits", "Limit must be set for non overcommitable resources")


def _check_amount(name: str, text: Any, path: str) -> Iterator[FieldError]:
    known = name in _STANDARD_RESOURCES or name.startswith("hugepages-")
    wrong = list(check(path, name, fe.qualified_name))
    yield from wrong
    if "/" not in name and not known:
        if not wrong:
            yield fe.invalid_value(path, name, "must be a standard resource type or fully qualified")
        yield fe.invalid_value(path, name, "must be a standard resource for containers")
    amount = fe.quantity(text)
    if amount is None:
        return  # the decoder has refused it
    if amount < 0:
        yield fe.invalid_value(path, str(text), fe.POSITIVE_OR_ZERO)
    elif "/" in name and amount.denominator != 1:
        yield fe.invalid_value(path, f"{int(amount * 1000)}m", "must be an integer")


# Updates ----------------------------------------------------------------------------------------------------------

_FROZEN: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _check_update(new: Doc, old: Doc) -> Iterator[FieldError]:
    for field in ("containers", "initContainers"):
        if len(new.get(field) or ()) != len(old.get(field) or ()):
            yield fe.forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    yield from _check_deadline(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    yield from _check_kept_tolerations(new.get("tolerations") or [], old.get("tolerations") or [])
    if _fixed_part(new, old) != _fixed_part(old, old):
        yield fe.forbidden("spec", _FROZEN)


def _check_deadline(new: int | None, old: int | None) -> Iterator[FieldError]:
    path = "spec.activeDeadlineSeconds"
    if old is not None and new is None:
        yield fe.invalid_value(path, None, "must not update from a positive integer to nil value")
    elif old is not None and new is not None and new > old:
        yield fe.invalid_value(path, new, "must be less than or equal to previous value")


def _check_kept_tolerations(new: list[Doc], old: list[Doc]) -> Iterator[FieldError]:
    def essence(toleration: Mapping[str, Any]) -> Doc:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    if not all(any(essence(t) == essence(kept) for kept in new) for t in old):
        text = "existing toleration can not be modified except its tolerationSeconds"
        yield fe.forbidden("spec.tolerations", text)


def _fixed_part(spec: Doc, old: Doc) -> Doc:
    """The spec without what an update may change."""
    fixed: Doc = copy_of(spec)
    for field in ("activeDeadlineSeconds", "tolerations"):
        fixed.pop(field, None)
    for container in [*(fixed.get("containers") or ()), *(fixed.get("initContainers") or ())]:
        container.pop("image", None)
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and fixed.get(
        "terminationGracePeriodSeconds"
    ) == 1:
        fixed["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    return fixed
