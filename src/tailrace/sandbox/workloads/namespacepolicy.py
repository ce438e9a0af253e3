"""Which pod-security level a namespace's labels ask for, and the sentences that go with a judgement.

Pure; an admission hook puts it in front of the API (pods are refused, workloads and namespaces only warned about).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tailrace.sandbox.workloads import podsecurity

Doc = Mapping[str, Any]

PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"^v1\.(0|[1-9]\d*)$")


class Level(NamedTuple):
    level: str = "privileged"
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    enforce: Level = Level()
    warn: Level = Level()
    problems: tuple[tuple[str, str, str], ...] = ()  # (label, value, what it must be)


def read_policy(labels: Mapping[str, str]) -> Policy:
    """A label that cannot be read enforces `restricted:latest`, and warns about nothing."""
    problems: list[tuple[str, str, str]] = []

    def level(mode: str, fallback: str) -> str | None:
        value = labels.get(f"{PREFIX}{mode}")
        if value is None or value in podsecurity.LEVELS:
            return value
        problems.append((f"{PREFIX}{mode}", value, f"must be one of {', '.join(podsecurity.LEVELS)}"))
        return fallback

    def version(mode: str) -> str | None:
        value = labels.get(f"{PREFIX}{mode}-version")
        if value is None or value == "latest" or _VERSION.match(value):
            return value
        problems.append((f"{PREFIX}{mode}-version", value, 'must be "latest" or "v1.x"'))
        return "latest"

    known = labels.get(f"{PREFIX}enforce") in podsecurity.LEVELS
    enforce = Level(level("enforce", "restricted") or "privileged", version("enforce") or "latest")
    level("audit", "privileged"), version("audit")
    warn_level, warn_version = level("warn", "privileged"), version("warn")
    warn = Level(warn_level or "privileged", warn_version or "latest")
    if warn_level is None and known and enforce.level != "privileged":
        warn = Level(enforce.level, warn_version or enforce.version)
    return Policy(enforce=enforce, warn=warn, problems=tuple(problems))


def refuse_pod(policy: Policy, metadata: Doc, spec: Doc) -> str | None:
    """Why a pod is forbidden, None when it may come in."""
    return _sentence("violates", policy.enforce, metadata, spec)


def warn_about(policy: Policy, metadata: Doc, spec: Doc) -> str | None:
    """The warning for a pod that was let in, or for a workload's pod template."""
    return _sentence("would violate", policy.warn, metadata, spec)


def _sentence(verb: str, level: Level, metadata: Doc, spec: Doc) -> str | None:
    violations = podsecurity.check_pod(level.level, metadata, spec)
    return f'{verb} PodSecurity "{level}": {", ".join(map(str, violations))}' if violations else None


def warn_about_existing(namespace: str, old: Policy, new: Policy, pods: Iterable[Doc]) -> list[str]:
    """What a namespace's new labels say about the pods that run there already."""
    stricter = podsecurity.LEVELS.index(new.enforce.level) > podsecurity.LEVELS.index(old.enforce.level)
    if new.enforce == old.enforce or not (stricter or new.enforce.version != old.enforce.version):
        return []
    found: dict[str, list[str]] = {}
    for pod in pods:
        violations = podsecurity.check_pod(new.enforce.level, pod["metadata"], pod["spec"])
        if violations:
            found.setdefault(", ".join(v.reason for v in violations), []).append(pod["metadata"]["name"])
    if not found:
        return []
    lines = sorted(_counted(min(names), len(names) - 1) + f": {reasons}" for reasons, names in found.items())
    return [
        f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{new.enforce}"',
        *lines,
    ]


def _counted(first: str, others: int) -> str:
    if not others:
        return first
    return f"{first} (and 1 other pod)" if others == 1 else f"{first} (and {others} other pods)"
