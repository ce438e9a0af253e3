"""Workloads: what owns a pod template, and which of its fields may change.

Place: `builtin_rules.RULES`. Source: `pkg/apis/{apps,batch,policy}/validation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tailrace.sandbox.kubernetes.documents import selectors
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules import pod_rules
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check_one_of

_STATEFULSET_FROZEN: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFULSET_FREE: Final = frozenset(
    [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ]
)


def check_statefulset(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    policy = spec.get("podManagementPolicy")
    if not policy:
        yield fe.required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        yield fe.invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _check_statefulset_strategy(spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        yield from check_one_of(path, retention.get(field, "Retain"), ("Retain", "Delete"))
    yield from fe.check_not_negative(spec, "spec", "replicas", "minReadySeconds")
    yield from fe.check_not_negative(spec.get("ordinals") or {}, "spec.ordinals", "start")
    if name := spec.get("serviceName"):
        yield from fe.check("spec.serviceName", name, fe.label)
    claims = [
        (claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()
    ]
    yield from _check_selector(spec, "statefulset")
    yield from _check_long_running(spec, claims)
    if (spec.get("template") or {}).get("spec", {}).get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in StatefulSet is not Supported"
        yield fe.forbidden("spec.template.spec.activeDeadlineSeconds", text)
    if old is None:
        yield from _check_claims(spec)
        return
    before = old.get("spec") or {}
    fixed = (spec.keys() | before.keys()) - _STATEFULSET_FREE
    if any(spec.get(field) != before.get(field) for field in fixed):
        yield fe.forbidden("spec", _STATEFULSET_FROZEN)


def _check_statefulset_strategy(strategy: Doc) -> Iterator[FieldError]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    shown = rolling and {
        "Partition": rolling.get("partition"),
        "MaxUnavailable": rolling.get("maxUnavailable"),
    }
    if not kind:
        yield fe.required(path)
    elif kind == "OnDelete":
        if rolling is not None:
            text = "only allowed for updateStrategy 'RollingUpdate'"
            yield fe.invalid_value(f"{path}.rollingUpdate", shown, text)
    elif kind == "RollingUpdate":
        yield from fe.check_not_negative(rolling or {}, f"{path}.rollingUpdate", "partition")
    else:
        value = {"Type": kind, "RollingUpdate": shown}
        yield fe.invalid_value(path, value, "must be 'RollingUpdate' or 'OnDelete'")


def _check_claims(spec: Doc) -> Iterator[FieldError]:
    for at, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        path, wanted = f"spec.volumeClaimTemplates[{at}].spec", claim.get("spec") or {}
        if not wanted.get("accessModes"):
            yield fe.required(f"{path}.accessModes", "at least 1 access mode is required")
        if "storage" not in ((wanted.get("resources") or {}).get("requests") or {}):
            yield fe.required(f"{path}.resources[storage]")


def check_deployment(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    yield from fe.check_not_negative(spec, "spec", "replicas")
    yield from _check_selector(spec, "deployment")
    yield from _check_long_running(spec)
    yield from _check_deployment_strategy(spec.get("strategy") or {})
    yield from fe.check_not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None:
        yield from fe.check_not_negative(spec, "spec", "progressDeadlineSeconds")
        if deadline <= ready:
            text = "must be greater than minReadySeconds"
            yield fe.invalid_value("spec.progressDeadlineSeconds", deadline, text)
    yield from _check_kept_selector(spec, old)


def _check_deployment_strategy(strategy: Doc) -> Iterator[FieldError]:
    kind, rolling, path = strategy.get("type"), strategy.get("rollingUpdate"), "spec.strategy"
    if kind == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            yield fe.forbidden(f"{path}.rollingUpdate", text)
    elif kind == "RollingUpdate":
        yield from _check_rolling(rolling or {}, f"{path}.rollingUpdate")
    else:
        shown = {"Type": kind, "RollingUpdate": rolling and _as_internal(rolling)}
        yield fe.unsupported(path, shown, ("Recreate", "RollingUpdate"))


def _as_internal(rolling: Doc) -> Doc:
    return {"MaxUnavailable": rolling.get("maxUnavailable"), "MaxSurge": rolling.get("maxSurge")}


def _check_rolling(rolling: Doc, path: str) -> Iterator[FieldError]:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    yield from fe.check_percent(f"{path}.maxUnavailable", unavailable)
    yield from fe.check_percent(f"{path}.maxSurge", surge)
    if unavailable in (0, "0%") and surge in (0, "0%"):
        text = "may not be 0 when `maxSurge` is 0"
        yield fe.invalid_value(f"{path}.maxUnavailable", unavailable, text)


def check_replicaset(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    yield from fe.check_not_negative(spec, "spec", "replicas", "minReadySeconds")
    yield from _check_selector(spec, "deployment")  # the server's own slip
    yield from _check_long_running(spec)
    yield from _check_kept_selector(spec, old)


def check_daemonset(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    yield from _check_selector(spec, "daemonset")
    yield from _check_long_running(spec)
    yield from fe.check_not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    strategy, path = spec.get("updateStrategy") or {}, "spec.updateStrategy"
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "RollingUpdate":
        unavailable, surge = (rolling or {}).get("maxUnavailable", 1), (rolling or {}).get("maxSurge", 0)
        yield from fe.check_percent(f"{path}.rollingUpdate.maxUnavailable", unavailable)
        yield from fe.check_percent(f"{path}.rollingUpdate.maxSurge", surge)
        if unavailable in (0, "0%") and surge in (0, "0%"):
            yield fe.required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif kind != "OnDelete":
        shown = {"Type": kind, "RollingUpdate": rolling and _as_internal(rolling)}
        yield fe.unsupported(path, shown, ("RollingUpdate", "OnDelete"))
    yield from _check_kept_selector(spec, old)


def _check_selector(spec: Doc, kind: str) -> Iterator[FieldError]:
    """The selector's own rules, and that it matches the template. DaemonSets may be without, in words at least."""
    selector, path = spec.get("selector"), "spec.selector"
    if selector is None:
        if kind != "daemonset":
            yield fe.required(path)
    else:
        wrong = list(fe.check_selector(path, selector))
        yield from wrong
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield fe.invalid_value(path, selector, f"empty selector is invalid for {kind}")
        if wrong and kind != "daemonset":
            text = "" if kind == "statefulset" else "invalid label selector"
            yield fe.invalid_value(path, selector, text)
        if wrong:
            return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None or not selectors.match_labels(selector, labels or {}):
        text = "`selector` does not match template `labels`"
        yield fe.invalid_value("spec.template.metadata.labels", labels, text)


def _check_long_running(spec: Doc, claims: list[str] | None = None) -> Iterator[FieldError]:
    template = spec.get("template") or {}
    yield from pod_rules.check_template(template, "spec.template", claims or ())
    policy = (template.get("spec") or {}).get("restartPolicy") or "Always"
    if policy != "Always":
        yield fe.unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def _check_kept_selector(spec: Doc, old: Doc | None) -> Iterator[FieldError]:
    if old is not None:
        yield from fe.check_immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))


def check_job(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    """The selector and its labels are made by the server after this."""
    spec = new.get("spec") or {}
    fields = (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    )
    yield from fe.check_not_negative(spec, "spec", *fields)
    modes = ("NonIndexed", "Indexed")
    if mode := spec.get("completionMode"):
        yield from check_one_of("spec.completionMode", mode, modes)
    if mode == "Indexed" and spec.get("completions") is None:
        yield fe.required("spec.completions", "when completion mode is Indexed")
    if policy := spec.get("podReplacementPolicy"):
        yield from check_one_of("spec.podReplacementPolicy", policy, ("Failed", "TerminatingOrFailed"))
    template = spec.get("template") or {}
    yield from pod_rules.check_template(template, "spec.template")
    if (template.get("spec") or {}).get("restartPolicy") not in ("OnFailure", "Never"):
        yield fe.required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    if old is not None:
        for field in ("completions", "selector", "template", "completionMode"):
            yield from fe.check_immutable(f"spec.{field}", spec.get(field), old["spec"].get(field))


def check_disruption_budget(new: Doc, _old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if least is not None and most is not None:
        shown = {
            "MinAvailable": least,
            "Selector": spec.get("selector"),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": policy,
        }
        yield fe.invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set")
    if least is not None:
        yield from fe.check_percent("spec.minAvailable", least)
    if most is not None:
        yield from fe.check_percent("spec.maxUnavailable", most)
    yield from fe.check_selector("spec.selector", spec.get("selector"))
    if policy is not None:
        allowed = ("AlwaysAllow", "IfHealthyBudget")
        yield from check_one_of("spec.unhealthyPodEvictionPolicy", policy, allowed)
