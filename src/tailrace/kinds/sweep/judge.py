"""What is left over, whether it may go, and why. Pure.

The rule that stands above all others: a device that is connected is never taken away unless its id is in the orphan
record. Tags prove nothing, because two clusters may share them; an id in our record, a key's id on a Secret of ours and a
key's description with our cluster's name do.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tailrace.api import kube, names
from tailrace.kinds.sweep.inputs import Inputs, Owner, read_owner
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.tailnet import port

GRACE = timedelta(minutes=10)
"""A key younger than that may be on its way into its Secret."""

KINDS = {"svc": "Service", "connector": "Connector"}


class What(enum.StrEnum):
    ORPHAN = "orphan"
    PROXY = "proxy"
    DEVICE = "device"
    KEY = "key"


class Verdict(enum.StrEnum):
    """Who may take it away."""

    OURS = "ours"  # provably: the operator does it by itself
    NAMED = "named"  # it bears a name of ours: a person says yes
    SHARED = "shared"  # it may as well be another cluster's: a person says yes to that too
    KEPT = "kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is left over, or looks so. `why` is a sentence without full stop."""

    what: What
    id: str
    name: str
    tailnet: str
    last_seen: datetime | None = None
    verdict: Verdict
    why: str
    owner: Owner | None = None  # of a proxy


def judge(i: Inputs) -> tuple[Finding, ...]:
    """Everything that is left over: the orphan record, proxies, devices, keys, each in a steady order."""
    return (*judge_remembered(i), *judge_proxies(i), *judge_devices(i), *judge_keys(i))


def judge_remembered(i: Inputs) -> Iterable[Finding]:
    known = {d.id: d for d in i.devices}
    for entry in i.remembered:
        if entry.tailnet == i.tailnet:
            device = known.get(port.DeviceId(entry.device))
            yield Finding(
                what=What.ORPHAN,
                id=entry.device,
                name=entry.name or (device.name if device else ""),
                tailnet=i.tailnet,
                last_seen=device.last_seen if device else None,
                verdict=Verdict.OURS,
                why=f"{entry.object or 'its object'} was deleted while the control plane did not answer",
            )


# --- proxies ---------------------------------------------------------------------------------------------------


def judge_proxies(i: Inputs) -> Iterable[Finding]:
    """Children whose root does not exist, one finding for each root. One without a Secret is on our own tailnet."""
    children: list[kube.Object] = [s.secret for s in i.here]
    with_secret = {read_owner(s.secret) for s in i.states}
    if not i.tailnet:
        children += [w for w in i.workloads if read_owner(w) not in with_secret]
    found: dict[Owner, list[kube.Object]] = {}
    for child in children:
        owner = read_owner(child)
        if owner is not None and not exists(i, owner):
            found.setdefault(owner, []).append(child)
    for owner in sorted(found):
        yield judge_proxy(i, owner, found[owner])


def exists(i: Inputs, owner: Owner) -> bool:
    parent, namespace, name = owner
    return (namespace, name) in i.roots.get(parent, frozenset())


def judge_proxy(i: Inputs, owner: Owner, children: list[kube.Object]) -> Finding:
    parent, namespace, name = owner
    where = f"{namespace}/{name}" if namespace else name
    served = parent in i.roots
    why = (
        f"{KINDS.get(parent, parent)} {where} does not exist"
        if served
        else f'it was made for a kind that Tailrace does not serve ("{parent}")'
    )
    return Finding(
        what=What.PROXY,
        id=min(c.metadata.name for c in children),
        name=where,
        tailnet=i.tailnet,
        verdict=Verdict.OURS if served else Verdict.KEPT,
        why=why,
        owner=owner,
    )


# --- devices ---------------------------------------------------------------------------------------------------


def list_tags(i: Inputs) -> frozenset[str]:
    """Tags that devices of ours have, or had when their keys were minted."""
    minted = (s.note(names.KEY_TAGS).split(",") for s in i.here)
    return frozenset(tag for tags in (i.tags, *minted) for tag in tags if tag)


def list_names(i: Inputs) -> frozenset[str]:
    """Names that objects of this cluster ask for, or asked for."""
    asked = (secret.decode_object(kube.decode_key(s.secret.data.config)).get("Hostname", "") for s in i.here)
    had = (e.name.partition(".")[0] for e in i.remembered if e.tailnet == i.tailnet)
    return frozenset(str(name).lower() for name in (*asked, *had) if name)


def judge_devices(i: Inputs) -> Iterable[Finding]:
    """Devices with a tag of ours that no Secret names."""
    ours, known = list_tags(i), list_names(i)
    claimed = (
        {s.device_id for s in i.here} | i.claimed | {e.device for e in i.remembered if e.tailnet == i.tailnet}
    )
    for device in i.devices:
        if device.id not in claimed and ours & {*device.tags}:
            verdict, why = judge_device(i, device, ours, known)
            yield Finding(
                what=What.DEVICE,
                id=device.id,
                name=device.name,
                tailnet=i.tailnet,
                last_seen=device.last_seen,
                verdict=verdict,
                why=why,
            )


def judge_device(
    i: Inputs, device: port.Device, ours: frozenset[str], known: frozenset[str]
) -> tuple[Verdict, str]:
    foreign = sorted({*device.tags} - ours)
    seen = device.last_seen or device.created
    if device.online:
        return Verdict.KEPT, "it is connected, and no object of this cluster has it"
    if foreign:
        return Verdict.KEPT, f"it has tags that are not ours ({', '.join(foreign)})"
    if seen is None:
        return Verdict.KEPT, "the control plane does not say when it was last connected"
    if i.now - seen < i.age:
        return Verdict.KEPT, "it was connected a moment ago: its proxy may be starting anew"
    if bears_name(device, known):
        return Verdict.NAMED, "an object of this cluster has its name, and another device"
    return Verdict.SHARED, "no object of this cluster has it; another cluster with the same tags may"


def bears_name(device: port.Device, known: frozenset[str]) -> bool:
    """A name of ours, or the twin of one: `demo-web-1` that asked to be `demo-web`."""
    name, asked = device.name.lower(), device.hostname.lower()
    twin = re.fullmatch(rf"{re.escape(asked)}-\d+", name) is not None
    return name in known or (twin and asked in known)


# --- keys ------------------------------------------------------------------------------------------------------


def judge_keys(i: Inputs) -> Iterable[Finding]:
    """Keys that would still admit a device while none of ours waits for them."""
    waiting = {s.note(names.KEY_ID) for s in i.here if s.has_key}
    for key in i.keys or ():
        young = key.created is None or i.now - key.created < GRACE
        if not key.usable or young or key.id in waiting:
            continue
        told = judge_key(i, key)
        if told is not None:
            yield Finding(
                what=What.KEY,
                id=key.id,
                name=key.description,
                tailnet=i.tailnet,
                verdict=told[0],
                why=told[1],
            )


def judge_key(i: Inputs, key: port.KeyInfo) -> tuple[Verdict, str] | None:
    """None for a key that shows no mark of ours. Headscale before 0.30 keeps no descriptions: there the id alone tells."""
    if key.id in {s.note(names.KEY_ID) for s in i.here}:
        return Verdict.OURS, "its proxy has joined without it"
    if i.cluster and key.description in {describe_key(i, s) for s in i.here}:
        return Verdict.OURS, "a later key of the same object took its place"
    if i.cluster and key.description.startswith(f"tailrace {clean(i.cluster)} "):
        return Verdict.NAMED, "no object of this cluster waits for it"
    if key.description.startswith("tailrace ") and {*key.tags} <= list_tags(i):
        return Verdict.SHARED, "no object of this cluster waits for it; another cluster's may"
    return None


def describe_key(i: Inputs, state: secret.State) -> str:
    owner = read_owner(state.secret)
    return proxy_names.build_key_description(i.cluster, owner[1], owner[2]) if owner else ""


def clean(cluster: str) -> str:
    """The cluster's name as it stands in a description."""
    return proxy_names.build_key_description(cluster, "", "").removeprefix("tailrace ")


# --- acting ----------------------------------------------------------------------------------------------------


def decide(found: Finding, i: Inputs) -> ops.Plan:
    """What takes one finding away; of a proxy nothing, for that is its room's. A device is looked at once more."""
    match found.what:
        case What.ORPHAN:
            entry = next(e for e in i.remembered if (e.device, e.tailnet) == (found.id, found.tailnet))
            gone = ops.DeleteDevice(device=found.id, name=found.name, claim=ops.Claim.ORPHAN)
            stages = ops.stages([gone], [ops.ForgetOrphan(device=entry.key)])
        case What.DEVICE:
            claim, tags = ops.Claim.DEAD_NAMESAKE, tuple(sorted(list_tags(i)))
            stages = ops.stages([ops.DeleteDevice(device=found.id, name=found.name, claim=claim, tags=tags)])
        case What.KEY:
            stages = ops.stages([ops.RevokeKey(key=found.id)])
        case What.PROXY:
            stages = ()
    return ops.Plan(stages=stages, tailnet=found.tailnet)
