"""Decide what to do about one Service: from everything that may be known to a plan. Pure and total.

    not exposed or being deleted ─► removal
    asks for what is not served, or wrongly ─► say so, touch nothing
    an older Service has the hostname ─► say so
    name taken on the tailnet ─► replace the dead, or say so
    otherwise ─► children, key, device, status: whatever is missing

A crash between any two operations leaves a world that has its own row here; there is no other recovery code.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.kinds.service import condition, mode, naming, removal, request, truth
from tailrace.kinds.service.condition import Claim, Claims
from tailrace.kinds.service.inputs import Inputs
from tailrace.kinds.service.world import World, join, owner_of
from tailrace.plan import diff, ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import rbac, secret, spec, statefulset
from tailrace.tailnet import port

INVALID = "unable to provision proxy resources: invalid Service: "
RECHECK = 30.0  # seconds until a world that no watch reports is looked at again


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when everything is as it should be."""
    if i.service is None:
        return removal.decide_leftovers(i)
    wish = request.read_request(i.service, i.install.defaults)
    if i.service.metadata.deletionTimestamp is not None:
        return removal.decide_removal(i, i.service)
    if wish.later:
        return refuse(i, i.service, Reason.NOT_SERVED, "; ".join(wish.later), EventReason.NOT_SERVED)
    if wish.violations and (wish.exposed or names.EXPOSE in i.service.metadata.annotations):
        message = INVALID + ", ".join(wish.violations)
        return refuse(i, i.service, Reason.INVALID_SERVICE, message, EventReason.INVALID_SERVICE)
    if not wish.exposed:
        return removal.decide_removal(i, i.service)
    rival = find_older_rival(i, i.service)
    if rival is not None:
        message = (
            f'the hostname "{wish.hostname}" belongs to the older Service {rival.metadata.namespace}/'
            f"{rival.metadata.name}: set another {names.HOSTNAME} on one of the two"
        )
        return refuse(i, i.service, Reason.HOSTNAME_TAKEN, message, EventReason.NAME_CONFLICT)
    choice = mode.choose_mode(i, i.service, wish)
    if isinstance(choice, str):
        return refuse(i, i.service, Reason.MODE_REFUSED, choice, EventReason.FAILED, recheck=RECHECK)
    return decide_proxy(World(inputs=i, service=i.service, wish=wish, choice=choice))


# --- refusals: said on the object, nothing touched -------------------------------------------------------------


def refuse(
    i: Inputs,
    service: kube.Service,
    reason: Reason,
    message: str,
    event: EventReason,
    *,
    recheck: float | None = None,
) -> ops.Plan:
    """Say why not. What runs already keeps running: a typing error must not cut off traffic."""
    claim = Claim(status=False, reason=reason, message=message)
    claims = Claims(accepted=claim, proxy=dataclasses.replace(claim, reason=Reason.PROXY_INVALID))
    told = (
        emit(service, event, message) if condition.changed(ConditionType.ACCEPTED, claim, service) else None
    )
    return ops.Plan(
        stages=ops.stages([condition.decide_status(claims, service, i.now), told]),
        result=ops.Result(waiting_on=f"a change ({reason})", requeue_after=recheck),
        owner=owner_of(i),
    )


def find_older_rival(i: Inputs, service: kube.Service) -> kube.Service | None:
    """The Service that has a better claim to the hostname: the oldest, then by namespace and name."""

    def rank(s: kube.Service) -> tuple[float, str, str]:
        made = s.metadata.creationTimestamp
        return (made.timestamp() if made else 0.0, s.metadata.namespace, s.metadata.name)

    oldest = min((*i.rivals, service), key=rank)
    return None if oldest is service else oldest


# --- the proxy -------------------------------------------------------------------------------------------------


def decide_proxy(w: World) -> ops.Plan:
    """Whatever is missing between this world and a device that answers."""
    i = w.inputs
    if w.needs_key and not i.tailnet.known:
        return wait_for_list(w)
    conflict = naming.find_conflict(w) if w.needs_key else None
    if conflict is not None:
        return refuse_name(w, conflict)
    proxy = build_spec(w)
    claims = truth.judge(w)
    unsure = w.joined and w.device is None and not i.tailnet.gone
    return ops.Plan(
        stages=ops.stages(
            [decide_finalizer(w), *naming.decide_dead_devices(w)],
            [*decide_rbac(w, proxy), *decide_secret(w, proxy)],
            # The binding comes after its Role: the API server refuses one to a Role that is not there. It takes up to a
            # tenth of a second; a pod that is faster finds no rights, exits, and is started again at once.
            [decide_binding(w, proxy), decide_statefulset(w, proxy), decide_touch(w)],
            [*decide_device(w)],
            [
                None if claims is None else condition.decide_status(claims, w.service, i.now),
                *decide_events(w),
            ],
        ),
        result=derive_result(w, claims, unsure=unsure),
        owner=owner_of(i),
        interest=unsure or claims is None or not (claims.online and claims.online.status),
    )


def derive_result(w: World, claims: Claims | None, *, unsure: bool) -> ops.Result:
    if unsure or claims is None:
        return ops.Result(waiting_on="the control plane's device list")
    ready = condition.derive_ready(claims)
    return ops.SETTLED if ready.status else ops.Result(waiting_on=str(ready.reason))


def wait_for_list(w: World) -> ops.Plan:
    """No device list yet: without it a name cannot be checked, so no key is minted."""
    problem = w.inputs.tailnet.problem
    if not problem:
        return ops.Plan(
            result=ops.Result(waiting_on="the device list"), owner=owner_of(w.inputs), interest=True
        )
    claim = truth.judge_unreachable(w, problem)
    claims = Claims(
        accepted=truth.judge_accepted(w),
        provisioned=claim,
        proxy=dataclasses.replace(claim, reason=Reason.PROXY_PENDING),
    )
    return ops.Plan(
        stages=ops.stages([condition.decide_status(claims, w.service, w.inputs.now)]),
        result=ops.Result(waiting_on="the control plane"),
        owner=owner_of(w.inputs),
        interest=True,
    )


def refuse_name(w: World, device: port.Device) -> ops.Plan:
    message = naming.describe_conflict(w, device)
    plan = refuse(w.inputs, w.service, Reason.NAME_CONFLICT, message, EventReason.NAME_CONFLICT)
    return dataclasses.replace(plan, result=ops.Result(waiting_on="the name"))


# --- children --------------------------------------------------------------------------------------------------


def build_spec(w: World) -> spec.ProxySpec:
    """The proxy as it should be. What restarts it is carried over from the live one, so that it restarts once."""
    i, state = w.inputs, w.state
    live = read_template_notes(i.children.statefulset)
    replaces = live.get(names.REPLACES, "")
    if state is not None and w.joined and (i.tailnet.gone or w.must_recreate):
        replaces = state.device_id
    restart = i.now.isoformat() if w.lost_secret else live.get(names.REFRESH, "")
    return spec.ProxySpec(
        name=proxy_names.build_child_name("svc", i.namespace, i.name),
        namespace=i.install.namespace,
        labels=owner_of(i),
        app=w.service.metadata.uid,
        hostname=w.wish.hostname,
        target=build_target(w),
        image=i.install.image,
        replaces=replaces,
        refresh=restart,
    )


def read_template_notes(live: kube.StatefulSet | None) -> dict[str, str]:
    """Annotations of a live StatefulSet's pod template."""
    if live is None:
        return {}
    template = secret.decode_object(bytes(live.spec).decode()).get("template", {})
    found: dict[str, str] = template.get("metadata", {}).get("annotations", {}) or {}
    return found


def build_target(w: World) -> spec.Target:
    service = w.service
    if w.choice.mode is spec.Mode.KERNEL:
        external = w.wish.backend is request.Backend.EXTERNAL
        return (
            spec.DnsName(name=service.spec.externalName)
            if external
            else spec.Address(ip=service.spec.clusterIP)
        )
    meta = service.metadata
    match w.wish.backend:
        case request.Backend.CLUSTER_IP:
            host = service.spec.clusterIP
        case request.Backend.EXTERNAL:
            host = service.spec.externalName
        case request.Backend.HEADLESS:
            host = f"{meta.name}.{meta.namespace}.svc.{w.inputs.install.cluster_domain}"
    headless = w.wish.backend is request.Backend.HEADLESS
    return spec.Forwards(
        ports=tuple(
            spec.Forward(port=p.port, host=host, target=find_target_port(w, p) if headless else p.port)
            for p in service.spec.ports
        ),
        proxy_protocol=w.wish.proxy_protocol,
    )


def find_target_port(w: World, wanted: kube.ServicePort) -> int:
    """A headless Service's name leads to the pods themselves, so the port is theirs, not the Service's."""
    if isinstance(wanted.targetPort, int):
        return wanted.targetPort or wanted.port
    named = (
        p.port
        for s in w.inputs.slices
        for p in s.ports or ()
        if (p.name or "") == wanted.name and p.port is not None
    )
    return next(named, wanted.port)


def decide_finalizer(w: World) -> ops.Op | None:
    return None if names.FINALIZER in w.service.metadata.finalizers else ops.Finalize(ref=w.ref)


def decide_rbac(w: World, proxy: spec.ProxySpec) -> list[ops.Op | None]:
    children = w.inputs.children
    account, role, _ = rbac.build_rbac(proxy)
    return [diff.decide_apply(account, children.service_account), diff.decide_apply(role, children.role)]


def decide_binding(w: World, proxy: spec.ProxySpec) -> ops.Op | None:
    *_, binding = rbac.build_rbac(proxy)
    return diff.decide_apply(binding, w.inputs.children.role_binding)


def decide_secret(w: World, proxy: spec.ProxySpec) -> list[ops.Op | None]:
    """The Secret: with a new key, with the key it has, or without one once the device is there."""
    state, now = w.state, w.inputs.now
    recreated = w.wish.recreate if (state is None or w.must_recreate) else state.note(names.RECREATED)
    if state is not None and not w.must_recreate and w.inputs.tailnet.gone:
        recreated = w.wish.recreate  # the deletion that was asked for has happened, by us or by somebody else
    if w.needs_key:
        notes = {names.KEY_TAGS: join(w.wish.tags), names.RECREATED: recreated}
        outdated = [ops.RevokeKey(key=w.outdated_key)] if w.outdated_key else []
        return [*outdated, build_mint(w, secret.build_secret(proxy, notes=notes))]
    assert state is not None
    kept = {key: state.note(key) for key in (names.KEY_ID, names.KEY_TAGS, names.REFRESHED_AT)}
    manifest = secret.build_secret(proxy, notes={})
    refresh = secret.compute_refresh(manifest, kept[names.KEY_ID])
    if refresh != state.note(names.REFRESH):
        kept[names.REFRESHED_AT] = now.isoformat()
    notes = {**kept, names.REFRESH: refresh, names.RECREATED: recreated}
    manifest = secret.build_secret(proxy, notes=notes)
    if state.has_key and not (w.joined and w.device is not None):
        wanted = diff.decide_apply(manifest, state.secret)
        return [ops.ApplyKeepingKey(manifest=wanted.manifest) if wanted else None]
    if state.has_key:  # it has joined: a key that lies about is a key that can be stolen
        return [ops.Apply(manifest=diff.stamp(manifest))]
    return [diff.decide_apply(manifest, state.secret)]


def build_mint(w: World, into: dict[str, object]) -> ops.MintKey:
    i = w.inputs
    return ops.MintKey(
        tags=w.wish.tags,
        ttl=i.install.key_ttl,
        description=proxy_names.build_key_description(i.install.cluster_name, i.namespace, i.name),
        into=into,
    )


def decide_statefulset(w: World, proxy: spec.ProxySpec) -> ops.Op | None:
    """The StatefulSet; one whose immutable selector belongs to a former Service of the name must go first."""
    live = w.inputs.children.statefulset
    if live is not None and live.metadata.deletionTimestamp is not None:
        return None  # its end is an event, and then it is made anew
    wanted = statefulset.build_statefulset(proxy)
    if live is not None:
        selector = secret.decode_object(bytes(live.spec).decode()).get("selector", {})
        if selector and not diff.covers(selector, wanted["spec"]["selector"]):
            return removal.build_delete("StatefulSet", live)
    return diff.decide_apply(wanted, live)


def decide_touch(w: World) -> ops.Op | None:
    """Bump the pod when its configuration changed after it started: otherwise the kubelet looks a minute later."""
    pod, state = w.inputs.children.pod, w.state
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


# --- the device ------------------------------------------------------------------------------------------------


def decide_device(w: World) -> list[ops.Op]:
    """Bring name and tags of the device back to what the Service says."""
    device, tailnet = w.device, w.inputs.tailnet
    if device is None or w.needs_key:
        return []
    found: list[ops.Op] = []
    if tailnet.can_rename and device.name.lower() != w.wish.hostname and not tailnet.namesakes:
        found.append(ops.RenameDevice(device=device.id, name=w.wish.hostname))
    if tailnet.can_tag and tuple(sorted(device.tags)) != w.wish.tags:
        found.append(ops.TagDevice(device=device.id, tags=w.wish.tags))
    return found


# --- events ----------------------------------------------------------------------------------------------------


def emit(service: kube.Service, reason: EventReason, message: str, *, warning: bool = True) -> ops.Emit:
    meta = service.metadata
    ref = ops.Ref(kind="Service", namespace=meta.namespace, name=meta.name)
    return ops.Emit(ref=ref, api_version="v1", uid=meta.uid, warning=warning, reason=reason, message=message)


def decide_events(w: World) -> list[ops.Op]:
    """Told when something changes, never again for the same world."""
    accepted = truth.judge_accepted(w)
    found: list[ops.Op] = []
    if condition.changed(ConditionType.ACCEPTED, accepted, w.service):
        found.append(emit(w.service, EventReason.MODE_CHOSEN, accepted.message, warning=False))
        found += [emit(w.service, EventReason.UNKNOWN_ANNOTATION, text) for text in w.wish.unknown]
    if w.needs_key and w.wish.on_conflict is request.OnConflict.REPLACE_OFFLINE:
        found += [
            emit(
                w.service,
                EventReason.DEVICE_REPLACED,
                f'the dead device {d.id} was deleted to free the name "{d.name}"',
                warning=False,
            )
            for d in w.inputs.tailnet.namesakes
        ]
    if w.inputs.tailnet.gone and w.needs_key:
        found.append(emit(w.service, EventReason.DEVICE_GONE, truth.judge_online(w).message))
    return found
