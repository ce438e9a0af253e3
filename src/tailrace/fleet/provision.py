"""What is missing between a world and a proxy whose device answers: children, key, device. Pure.

The stages, of which what is already there falls out:

    dead namesakes go ─► account, Role, Secret with a key ─► finalizer, RoleBinding, StatefulSet ─► name and tags of the device

A crash between any two operations leaves a world that has its own row here; there is no other recovery code. The
finalizer may come after the first children: those whose root is gone without it are found and removed all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from tailrace.api import kube, names
from tailrace.api.conditions import EventReason
from tailrace.fleet import adoption, claims, naming, plea, removal, truth
from tailrace.fleet.wish import OnConflict
from tailrace.fleet.world import World, join
from tailrace.plan import diff, ops
from tailrace.proxy import metrics, rbac, secret, spec, statefulset
from tailrace.proxy import names as proxy_names

NOTHING: Mapping[str, str] = MappingProxyType({})


def build_spec(w: World, target: spec.Target) -> spec.ProxySpec:
    """The proxy as it should be. What restarts it is carried over from the live one, so that it restarts once."""
    state, live = w.state, read_template_notes(w.children.statefulset)
    replaces = live.get(names.REPLACES, "")
    if state is not None and w.joined and (w.tailnet.gone or w.must_recreate):
        replaces = state.device_id
    last = w.starts.rpartition(" ")[-1] or live.get(names.REFRESH, "")
    return spec.ProxySpec(
        name=w.place.name,
        namespace=w.install.namespace,
        secret_name=w.place.secret_name,
        labels=w.root.owner,
        app=w.root.meta.uid,
        hostname=w.wish.hostname,
        mode=w.mode,
        target=target,
        image=build_image(w),
        proxy_class=w.proxy_class,
        replaces=replaces,
        refresh=w.now.isoformat() if w.lost_secret else last,
    )


def build_image(w: World) -> spec.Image:
    """What all proxies share, with the login server of another tailnet where the proxy is to join one."""
    home, image = w.tailnet.home, w.install.image
    if home is None:
        return image
    return dataclasses.replace(
        image, login_server=home.login_server, ca_pem=home.ca_pem, private_logs=home.private_logs
    )


def read_template_notes(live: kube.StatefulSet | None) -> dict[str, str]:
    """Annotations of a live StatefulSet's pod template."""
    if live is None:
        return {}
    template = secret.decode_object(bytes(live.spec).decode()).get("template", {})
    found: dict[str, str] = template.get("metadata", {}).get("annotations", {}) or {}
    return found


def decide_proxy(
    w: World,
    proxy: spec.ProxySpec,
    *,
    early: Sequence[ops.Op | None] = (),
    kept: Mapping[str, str] = NOTHING,
    hold: bool = False,
) -> list[Sequence[ops.Op | None]]:
    """The stages. `early` goes with the first children; `kept` are annotations that the Secret has for the caller; `hold`
    leaves a live StatefulSet as it is for now."""
    if naming.must_stop(w):
        return [[removal.decide_stop(w.children)]]
    return [
        [*naming.decide_dead_devices(w), decide_former_keys(w)],
        # In each stage what the next one waits for longest is sent first: the key, then the StatefulSet.
        [*decide_secret(w, proxy, kept), *decide_rbac(w, proxy), *early],
        [decide_withdrawal(w, proxy)],
        # The binding comes after its Role: the API server refuses one to a Role that is not there. It takes up to a
        # tenth of a second; a pod that is faster finds no rights, exits, and is started again at once.
        [
            None if hold and w.children.statefulset is not None else decide_statefulset(w, proxy),
            decide_finalizer(w),
            decide_binding(w, proxy),
            decide_touch(w),
        ],
        decide_device(w),
    ]


def decide_others(
    there: Sequence[tuple[str, kube.Object]], wanted: Sequence[ops.Manifest]
) -> list[ops.Op | None]:
    """What stands beside proxies, kind and object: what is wanted is applied, what no longer is goes."""
    live = {(kind, found.metadata.name): found for kind, found in there}
    keep = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in wanted}
    gone = [
        removal.build_delete(kind, found)
        for (kind, name), found in live.items()
        if (kind, name) not in keep and found.metadata.deletionTimestamp is None
    ]
    return [*gone, *(diff.decide_apply(manifest, live.get(place)) for place, manifest in keep.items())]


def build_metrics(proxy: spec.ProxySpec) -> list[ops.Manifest]:
    """What a monitoring system needs, where the ProxyClass asks for it."""
    wanted, kind = proxy.proxy_class, statefulset.tell_type(proxy)
    if wanted is None or not wanted.serves_metrics or not kind.can_be_measured:
        return []
    measured = metrics.Measured(
        statefulset=proxy.name,
        namespace=proxy.namespace,
        labels=proxy.labels,
        type=kind,
        parent=proxy.labels[names.PARENT_NAME],
        parent_namespace=proxy.labels[names.PARENT_NAMESPACE],
    )
    monitor = wanted.monitor
    built: list[ops.Manifest] = [metrics.build_service(measured)]
    return built if monitor is None else [*built, metrics.build_service_monitor(measured, monitor)]


def decide_former_keys(w: World) -> ops.Op | None:
    """What else the official operator wrote into the Secret holds a key too. Gone before the Secret counts as ours."""
    if w.state is None or not adoption.is_foreign(w.state.secret):
        return None
    meta = w.state.secret.metadata
    ref = ops.Ref(kind="Secret", namespace=meta.namespace, name=meta.name)
    return ops.DropKeys(ref=ref, keys=adoption.FORMER_KEYS, labels=meta.labels)


def decide_withdrawal(w: World, proxy: spec.ProxySpec) -> ops.Op | None:
    """Take back the request for another key of a proxy that is started again. After the note of the start, which brings
    the start about whatever happens in between; before the start, since what asks after that is to be heard, and
    containerboot clears a request itself only for the sake of another key."""
    started = read_template_notes(w.children.statefulset).get(names.REFRESH, "")
    if w.state is None or not w.asks or w.needs_key or proxy.refresh == started:
        return None
    meta = w.state.secret.metadata
    ref = ops.Ref(kind="Secret", namespace=meta.namespace, name=meta.name)
    return ops.DropKeys(ref=ref, keys=(secret.REQUEST,), labels=meta.labels)


def decide_finalizer(w: World) -> ops.Op | None:
    return None if w.root.held else ops.Finalize(ref=w.root.ref)


def decide_rbac(w: World, proxy: spec.ProxySpec) -> list[ops.Op | None]:
    account, role, _ = rbac.build_rbac(proxy)
    return [
        diff.decide_apply(account, w.children.service_account),
        diff.decide_apply(role, w.children.role),
    ]


def decide_binding(w: World, proxy: spec.ProxySpec) -> ops.Op | None:
    *_, binding = rbac.build_rbac(proxy)
    return diff.decide_apply(binding, w.children.role_binding)


def decide_secret(w: World, proxy: spec.ProxySpec, kept: Mapping[str, str]) -> list[ops.Op | None]:
    """The Secret: with a new key, with the key it has, or without one once the device is there."""
    state = w.state
    recreated = w.wish.recreate if (state is None or w.must_recreate) else state.note(names.RECREATED)
    if state is not None and not w.must_recreate and w.tailnet.gone:
        recreated = w.wish.recreate  # the deletion that was asked for has happened, by us or by somebody else
    notes = {**kept, names.RECREATED: recreated, names.TAILNET: w.wish.tailnet}
    if w.needs_key:
        notes[names.KEY_TAGS] = join(w.wish.tags)
        outdated = [ops.RevokeKey(key=w.outdated_key)] if w.outdated_key else []
        return [*outdated, build_mint(w, secret.build_secret(proxy, notes=notes))]
    assert state is not None
    notes[names.STARTED_AGAIN] = w.starts
    notes |= {key: state.note(key) for key in (names.KEY_ID, names.KEY_TAGS, names.REFRESHED_AT)}
    manifest = secret.build_secret(proxy, notes={})
    refresh = secret.compute_refresh(manifest, notes[names.KEY_ID])
    if refresh != state.note(names.REFRESH):
        notes[names.REFRESHED_AT] = w.now.isoformat()
    manifest = secret.build_secret(proxy, notes={**notes, names.REFRESH: refresh})
    if state.has_key and not (w.joined and w.device is not None):
        wanted = diff.decide_apply(manifest, state.secret)
        return [ops.ApplyKeepingKey(manifest=wanted.manifest) if wanted else None]
    if state.has_key:  # it has joined: a key that lies about is a key that can be stolen
        return [ops.Apply(manifest=diff.stamp(manifest))]
    return [diff.decide_apply(manifest, state.secret)]


def build_mint(w: World, into: dict[str, object]) -> ops.MintKey:
    ref = w.root.ref
    return ops.MintKey(
        tags=w.wish.tags,
        ttl=w.install.key_ttl,
        description=proxy_names.build_key_description(w.install.cluster_name, ref.namespace, ref.name),
        into=into,
    )


def decide_statefulset(w: World, proxy: spec.ProxySpec) -> ops.Op | None:
    """The StatefulSet; one that cannot become ours in place must go first, its Secret and so its device stay.

    That is one whose immutable selector belongs to a former root of the name, and one that the official operator made:
    applied over its own fields, volumes and variables of both would stand side by side.
    """
    live = w.children.statefulset
    if live is not None and live.metadata.deletionTimestamp is not None:
        return None  # its end is an event, and then it is made anew
    wanted = statefulset.build_statefulset(proxy)
    if live is not None:
        selector = secret.decode_object(bytes(live.spec).decode()).get("selector", {})
        if adoption.is_foreign(live) or (selector and not diff.covers(selector, wanted["spec"]["selector"])):
            return removal.build_delete("StatefulSet", live)
    return diff.decide_apply(wanted, live)


def decide_touch(w: World) -> ops.Op | None:
    """Bump the pod when its configuration changed after it started: otherwise the kubelet looks a minute later."""
    pod, state = w.children.pod, w.state
    if pod is None or state is None or pod.metadata.creationTimestamp is None:
        return None
    refresh, since = state.note(names.REFRESH), state.note(names.REFRESHED_AT)
    if (
        not refresh
        or pod.metadata.deletionTimestamp
        or pod.metadata.annotations.get(names.REFRESH) == refresh
    ):
        return None
    changed_at = read_time(since)
    if changed_at is None or pod.metadata.creationTimestamp >= changed_at.replace(microsecond=0):
        return (
            None  # (a creationTimestamp has whole seconds) it has read the new configuration from the start
        )
    ref = ops.Ref(kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name)
    return ops.AnnotatePod(ref=ref, key=names.REFRESH, value=refresh)


def read_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def decide_device(w: World) -> list[ops.Op]:
    """Bring name and tags of the device back to what the root says."""
    device, tailnet = w.device, w.tailnet
    if device is None or w.needs_key:
        return []
    found: list[ops.Op] = []
    if tailnet.can_rename and device.name.lower() != w.wish.hostname and not tailnet.namesakes:
        found.append(ops.RenameDevice(device=device.id, name=w.wish.hostname))
    if tailnet.can_tag and tuple(sorted(device.tags)) != w.wish.tags:
        found.append(ops.TagDevice(device=device.id, tags=w.wish.tags))
    return found


def decide_events(w: World) -> list[ops.Op]:
    """What happened to the device, told once."""
    found: list[ops.Op] = []
    if w.needs_key and w.wish.on_conflict is OnConflict.REPLACE_OFFLINE and not naming.must_stop(w):
        found += [
            claims.emit(
                w.root,
                EventReason.DEVICE_REPLACED,
                f'the dead device {d.id} was deleted to free the name "{d.name}"',
                warning=False,
            )
            for d in w.tailnet.namesakes
        ]
    if w.asks and w.needs_key and w.device is not None:
        text = (
            f"device {w.device.id} was deleted: its proxy cannot log in as it any more, and joins as another"
        )
        found.append(claims.emit(w.root, EventReason.DEVICE_REPLACED, text, warning=False))
    if w.answer is plea.Answer.RESTART and w.device is not None:
        text = f"{w.where} is started again: it could not log in as device {w.device.id}, which is there"
        found.append(claims.emit(w.root, EventReason.PROXY_RESTARTED, text, warning=False))
    if w.tailnet.gone and w.needs_key:
        found.append(claims.emit(w.root, EventReason.DEVICE_GONE, truth.judge_online(w).message))
    return found
