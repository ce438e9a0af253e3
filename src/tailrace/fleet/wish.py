"""What a device shall be, read from annotations; every wrong value becomes one sentence. Pure."""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tailrace.api import kube, names
from tailrace.fleet.install import Defaults
from tailrace.proxy import names as proxy_names
from tailrace.settings import TAG

OURS = ("tailscale.com/", "tailrace.dev/")

LATER = {names.PROXY_GROUP: "a ProxyGroup"}

ELSEWHERE = {
    "tailscale.com/funnel": "Funnel works on an Ingress only, never by exposing a Service",
    "tailscale.com/http-redirect": "the redirect to HTTPS works on an Ingress only",
}

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class OnConflict(enum.StrEnum):
    """What to do when a device of that name exists."""

    REPLACE_OFFLINE = "replace-offline"
    SUFFIX = "suffix"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """One device as it shall be."""

    hostname: str
    tags: tuple[str, ...]  # sorted
    on_conflict: OnConflict = OnConflict.REPLACE_OFFLINE
    recreate: str = ""
    tailnet: str = ""  # "" is the operator's own
    proxy_class: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceWish(Wish):
    """A Service's wish, with what is wrong about it."""

    violations: tuple[str, ...] = ()  # sentences: what is wrong and how to write it
    later: tuple[str, ...] = ()  # names something that this version does not serve
    unknown: tuple[str, ...] = ()  # annotations that look like ours and are none, or have no effect here


def read_hostname(service: kube.Service) -> str:
    """The hostname that a Service asks for, valid or not."""
    meta = service.metadata
    return meta.annotations.get(names.HOSTNAME, proxy_names.build_default_hostname(meta.namespace, meta.name))


def read_tags(notes: Mapping[str, str], default: tuple[str, ...], wrong: list[str]) -> tuple[str, ...]:
    """The tags of `tailscale.com/tags`; wrong ones are told."""
    if names.TAGS not in notes:
        return default
    tags = tuple(sorted({tag.strip() for tag in notes[names.TAGS].split(",")}))
    wrong += check_tags(tags)
    return tags


def read_on_conflict(notes: Mapping[str, str], wrong: list[str]) -> OnConflict:
    value = check_choice(notes, names.NAME_CONFLICT, tuple(OnConflict), OnConflict.REPLACE_OFFLINE, wrong)
    return OnConflict(value)


def read_proxy_class(notes: Mapping[str, str], labels: Mapping[str, str], default: str) -> str:
    """The ProxyClass: the label, else the annotation, else the operator's default, as in the official operator."""
    for found in (labels, notes):
        if names.PROXY_CLASS in found:
            return found[names.PROXY_CLASS]
    return default


def check_hostname(hostname: str, what: str = names.HOSTNAME) -> list[str]:
    """`what` says where the hostname was written."""
    if LABEL.fullmatch(hostname):
        return []
    better = re.sub(r"[^a-z0-9-]+", "-", hostname.lower())[:63].strip("-")
    hint = f', for example "{better}"' if better else ""
    fault = "has dots" if "." in hostname else "is empty" if not hostname else "is not a DNS label"
    return [f'{what} "{hostname}" {fault}: write one label of 1 to 63 letters, digits and hyphens{hint}']


def check_tags(tags: tuple[str, ...], what: str = names.TAGS) -> list[str]:
    return [
        f'{what} has "{tag}": write "tag:" and a letter, then letters, digits or hyphens, for example "tag:k8s"'
        for tag in tags
        if not TAG.fullmatch(tag)
    ]


def check_choice(
    notes: Mapping[str, str], key: str, choices: tuple[str, ...], default: str, wrong: list[str]
) -> str:
    """The value of an annotation with fixed choices; a wrong one is told and reads as the default."""
    value = notes.get(key, default)
    if value in choices or value == default:
        return value
    near = difflib.get_close_matches(value, choices, 1)
    hint = f' (did you mean "{near[0]}"?)' if near else ""
    wrong.append(f'{key} is "{value}": write one of {", ".join(choices)}{hint}')
    return default


def is_load_balancer(service: kube.Service, defaults: Defaults) -> bool:
    """A LoadBalancer Service whose class is ours, or has none while we are the default."""
    spec = service.spec
    return spec.type == "LoadBalancer" and (
        spec.loadBalancerClass == names.LOAD_BALANCER_CLASS
        or (spec.loadBalancerClass is None and defaults.load_balancer)
    )


def find_later(service: kube.Service) -> tuple[str, ...]:
    """Names of things that this version does not serve. A ProxyGroup counts by the presence of its key."""
    found = [key for key in (names.PROXY_GROUP,) if key in service.metadata.annotations]
    return tuple(f"{key} asks for {LATER[key]}, which this version does not serve" for key in found)


def find_unknown(service: kube.Service) -> tuple[str, ...]:
    """Annotations under our prefixes that nobody reads, each with the nearest name that somebody does."""
    known = names.USER_KEYS | {n.key for n in names.ANNOTATIONS}
    sentences = []
    for key in sorted(service.metadata.annotations):
        if key in ELSEWHERE:
            sentences.append(f"{key} has no effect here: {ELSEWHERE[key]}")
        elif key.startswith(OURS) and key not in known:
            near = difflib.get_close_matches(key, sorted(names.USER_KEYS), 1)
            sentences.append(f"{key} is not known" + (f" (did you mean {near[0]}?)" if near else ""))
    return tuple(sentences)
