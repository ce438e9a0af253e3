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
from dataclasses import dataclass
from datetime import datetime

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.kinds.service import condition, removal, request
from tailrace.kinds.service.condition import Claim, Claims
from tailrace.kinds.service.inputs import Inputs
from tailrace.plan import diff, ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import rbac, secret, spec, statefulset
from tailrace.settings import Mode
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
    choice = choose_mode(i, i.service, wish)
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


# --- mode ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The mode and the reason for it, in words."""

    mode: spec.Mode
    why: str


def choose_mode(i: Inputs, service: kube.Service, wish: request.Request) -> Choice | str:
    """The proxy's mode, or a sentence that quotes the refusal and says what to do."""
    admitted, refusal = i.admission.privileged, i.admission.refusal
    tcp_only = bool(service.spec.ports) and all(p.protocol == "TCP" for p in service.spec.ports)
    mend = (
        f"let the namespace {i.install.namespace} admit privileged pods (label pod-security.kubernetes.io/enforce: "
        "privileged)"
    )
    if wish.mode is Mode.USERSPACE:
        return Choice(mode=spec.Mode.USERSPACE, why="it was asked for")
    if wish.mode is Mode.KERNEL:
        if admitted:
            return Choice(mode=spec.Mode.KERNEL, why="it was asked for")
        return f"kernel mode needs a privileged pod, and the cluster refuses one: {refusal}. Either {mend}, or set {names.MODE} to userspace"
    if wish.backend is request.Backend.HEADLESS:
        return Choice(mode=spec.Mode.USERSPACE, why="the Service is headless")
    if wish.proxy_protocol:
        return Choice(mode=spec.Mode.USERSPACE, why=f"{names.PROXY_PROTOCOL} needs it")
    if admitted:
        return Choice(mode=spec.Mode.KERNEL, why="the cluster admits privileged pods")
    if tcp_only:
        return Choice(
            mode=spec.Mode.USERSPACE, why="the cluster admits no privileged pod and all ports are TCP"
        )
    return f"a port that is not TCP needs kernel mode, and the cluster refuses a privileged pod: {refusal}. To serve it, {mend}; or expose the TCP ports by a Service of their own"


# --- the proxy -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The inputs with what was read out of them: what every question below is asked of."""

    inputs: Inputs
    service: kube.Service
    wish: request.Request
    choice: Choice

    @property
    def state(self) -> secret.State | None:
        return self.inputs.children.state

    @property
    def joined(self) -> bool:
        """The proxy has, or had, a device."""
        return self.state is not None and bool(self.state.device_id)

    @property
    def device(self) -> port.Device | None:
        return self.inputs.tailnet.device

    @property
    def ref(self) -> ops.Ref:
        meta = self.service.metadata
        return ops.Ref(kind="Service", namespace=meta.namespace, name=meta.name)

    @property
    def must_recreate(self) -> bool:
        """`tailrace.dev/recreate` has a value that was not obeyed yet."""
        return (
            self.state is not None
            and self.joined
            and self.device is not None
            and bool(self.wish.recreate)
            and self.wish.recreate != self.state.note(names.RECREATED)
        )

    @property
    def lost_secret(self) -> bool:
        """The Secret was deleted under a running proxy, which does not notice: it needs a new one and a restart."""
        return self.state is None and self.inputs.children.statefulset is not None

    @property
    def outdated_key(self) -> str:
        """Id of a waiting key that was minted for other tags, or empty."""
        state = self.state
        if (
            state is None
            or self.joined
            or not state.has_key
            or state.note(names.KEY_TAGS) == join(self.wish.tags)
        ):
            return ""
        return state.note(names.KEY_ID)

    @property
    def needs_key(self) -> bool:
        state = self.state
        if state is None or state.wants_key or self.must_recreate or self.outdated_key:
            return True
        return not state.has_key and (not self.joined or self.inputs.tailnet.gone)


def decide_proxy(w: World) -> ops.Plan:
    """Whatever is missing between this world and a device that answers."""
    i = w.inputs
    if w.needs_key and not i.tailnet.known:
        return wait_for_list(w)
    conflict = find_conflict(w) if w.needs_key else None
    if conflict is not None:
        return refuse_name(w, conflict)
    proxy = build_spec(w)
    claims = judge(w)
    unsure = w.joined and w.device is None and not i.tailnet.gone
    return ops.Plan(
        stages=ops.stages(
            [decide_finalizer(w), *decide_dead_devices(w)],
            [*decide_rbac(w, proxy), *decide_secret(w, proxy)],
            [decide_statefulset(w, proxy), decide_touch(w)],
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
    claim = judge_unreachable(w, problem)
    claims = Claims(
        accepted=judge_accepted(w),
        provisioned=claim,
        proxy=dataclasses.replace(claim, reason=Reason.PROXY_PENDING),
    )
    return ops.Plan(
        stages=ops.stages([condition.decide_status(claims, w.service, w.inputs.now)]),
        result=ops.Result(waiting_on="the control plane"),
        owner=owner_of(w.inputs),
        interest=True,
    )


# --- names -----------------------------------------------------------------------------------------------------


def is_replaceable(w: World, device: port.Device) -> bool:
    """A dead device that was made for the same tags as ours: nobody's live machine."""
    ours = {*w.wish.tags, *w.inputs.install.defaults.tags}
    dead = not device.online and device.id not in w.inputs.tailnet.claimed
    return dead and bool(device.tags) and set(device.tags) <= ours


def find_conflict(w: World) -> port.Device | None:
    """The device that keeps us from the hostname, by the Service's own rule; None when the way is free."""
    for device in w.inputs.tailnet.namesakes:
        match w.wish.on_conflict:
            case request.OnConflict.FAIL:
                return device
            case request.OnConflict.REPLACE_OFFLINE if not is_replaceable(w, device):
                return device
            case _:
                pass
    return None


def refuse_name(w: World, device: port.Device) -> ops.Plan:
    owner = f"tags {', '.join(device.tags)}" if device.tags else f"user {device.user or 'unknown'}"
    state = "connected" if device.online else "not connected"
    plan = refuse(
        w.inputs,
        w.service,
        Reason.NAME_CONFLICT,
        f'the name "{w.wish.hostname}" is taken by device {device.id} ({owner}, {", ".join(device.addresses)}, {state}): '
        f"delete or rename that device, set another {names.HOSTNAME}, or set {names.NAME_CONFLICT} to suffix",
        EventReason.NAME_CONFLICT,
    )
    return dataclasses.replace(plan, result=ops.Result(waiting_on="the name"))


def decide_dead_devices(w: World) -> list[ops.Op]:
    """Devices that must go before a key is minted, so that the new one gets the clean name."""
    if not w.needs_key:
        return []
    found: list[ops.Op] = []
    if w.state is not None and w.device is not None and (w.must_recreate or w.state.wants_key):
        found.append(ops.DeleteDevice(device=w.device.id, name=w.device.name, claim=ops.Claim.IDENTITY))
    if w.wish.on_conflict is request.OnConflict.REPLACE_OFFLINE:
        ours = tuple(sorted({*w.wish.tags, *w.inputs.install.defaults.tags}))
        found += [
            ops.DeleteDevice(device=d.id, name=d.name, claim=ops.Claim.DEAD_NAMESAKE, tags=ours)
            for d in w.inputs.tailnet.namesakes
        ]
    return found


# --- children --------------------------------------------------------------------------------------------------


def owner_of(i: Inputs) -> dict[str, str]:
    return proxy_names.build_labels("svc", i.namespace, i.name)


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
    account, role, binding = rbac.build_rbac(proxy)
    return [
        diff.decide_apply(account, children.service_account),
        diff.decide_apply(role, children.role),
        diff.decide_apply(binding, children.role_binding),
    ]


def join(tags: tuple[str, ...]) -> str:
    return ",".join(tags)


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


# --- what is true ----------------------------------------------------------------------------------------------


def judge(w: World) -> Claims | None:
    """The truth after this plan; None while the device list is older than the login, so that nothing half-true is
    written for the second that it takes."""
    i = w.inputs
    if w.joined and w.device is None and not i.tailnet.gone and not i.tailnet.problem:
        return None
    if w.device is not None and w.state is not None and not w.state.fqdn:
        return None  # containerboot writes the name right after the id
    online = judge_online(w)
    provisioned = Claim(status=True, reason=Reason.PROVISIONED, message="the proxy's objects exist")
    named = w.state is not None and bool(w.state.fqdn) and not i.tailnet.gone
    pending = "no Tailscale hostname known yet, waiting for proxy pod to finish auth"
    proxy = (
        Claim(status=True, reason=Reason.PROXY_CREATED, message=str(Reason.PROXY_CREATED))
        if named
        else Claim(status=False, reason=Reason.PROXY_PENDING, message=pending)
    )
    return Claims(
        accepted=judge_accepted(w),
        provisioned=provisioned,
        online=online,
        backend=condition.judge_backend(w.service, i.slices),
        proxy=proxy,
        urls=condition.build_urls(w.service, w.state.fqdn) if named and w.state else (),
        ingress=build_ingress(w, named=named),
    )


def judge_accepted(w: World) -> Claim:
    return Claim(status=True, reason=Reason.ACCEPTED, message=f"mode {w.choice.mode}: {w.choice.why}")


def judge_unreachable(w: World, problem: str) -> Claim:
    reason = Reason.CREDENTIALS_REFUSED if w.inputs.tailnet.denied else Reason.CONTROL_PLANE_UNREACHABLE
    return Claim(status=False, reason=reason, message=problem)


def judge_online(w: World) -> Claim:
    tailnet, state, device = w.inputs.tailnet, w.state, w.device
    if state is None or not state.device_id or (not state.fqdn and device is None and not tailnet.gone):
        return Claim(status=False, reason=Reason.WAITING_FOR_LOGIN, message=describe_pod(w))
    if tailnet.gone:
        return Claim(
            status=False,
            reason=Reason.DEVICE_GONE,
            message=f"device {state.device_id} was deleted on the control plane; the proxy joins again with a new key",
        )
    if device is None or not tailnet.fresh:
        return dataclasses.replace(judge_unreachable(w, tailnet.problem), status=None)
    where = f"{state.fqdn or device.name} ({', '.join(device.addresses)})"
    if not device.online:
        hint = f"look at pod {w.inputs.install.namespace}/{state.secret.metadata.name}"
        return Claim(status=False, reason=Reason.DISCONNECTED, message=f"{where} is not connected: {hint}")
    if not tailnet.can_tag and tuple(sorted(device.tags)) != w.wish.tags:
        return Claim(
            status=True,
            reason=Reason.TAGS_DIFFER,
            message=f"{where} is connected with tags {join(device.tags)} instead of {join(w.wish.tags)}, which cannot be "
            f"changed in place: set {names.RECREATE} to a new value to make it anew",
        )
    if device.name.lower() != w.wish.hostname and (tailnet.namesakes or not tailnet.can_rename):
        return Claim(
            status=True,
            reason=Reason.NAME_DIFFERS,
            message=f'{where} is connected; the name "{w.wish.hostname}" is taken by another device',
        )
    return Claim(status=True, reason=Reason.CONNECTED, message=f"{where} is connected")


def describe_pod(w: World) -> str:
    """What the proxy's pod does while we wait for its login; the ordinary steps are not told one by one, since each
    would be a write of the status."""
    pod, name = w.inputs.children.pod, proxy_names.build_child_name("svc", w.inputs.namespace, w.inputs.name)
    where = f"pod {w.inputs.install.namespace}/{name}-0"
    if pod is None:
        return f"waiting for {where} to join"
    waiting = [s.state.waiting for s in pod.status.containerStatuses if s.state.waiting]
    for reason in waiting:
        if reason.message:
            return f"{where} waits: {reason.reason}: {reason.message[:200]}"
    for condition_ in pod.status.conditions:
        if condition_.type == "PodScheduled" and condition_.status == "False" and condition_.message:
            return f"{where} is not scheduled: {condition_.message[:200]}"
    return f"waiting for {where} to join"


def build_ingress(w: World, *, named: bool) -> tuple[dict[str, str], ...] | None:
    """status.loadBalancer.ingress: the name, then the addresses of the families that the Service has."""
    if not request.is_load_balancer(w.service, w.inputs.install.defaults):
        return None
    if not named or w.state is None:
        return ()
    ips = w.service.spec.clusterIPs or (w.service.spec.clusterIP,)
    families = {":" in ip for ip in ips if ip and ip != "None"}
    addresses = [a for a in w.state.addresses if not families or (":" in a) in families]
    return ({"hostname": w.state.fqdn}, *({"ip": a} for a in addresses))


# --- events ----------------------------------------------------------------------------------------------------


def emit(service: kube.Service, reason: EventReason, message: str, *, warning: bool = True) -> ops.Emit:
    meta = service.metadata
    ref = ops.Ref(kind="Service", namespace=meta.namespace, name=meta.name)
    return ops.Emit(ref=ref, api_version="v1", uid=meta.uid, warning=warning, reason=reason, message=message)


def decide_events(w: World) -> list[ops.Op]:
    """Told when something changes, never again for the same world."""
    accepted = judge_accepted(w)
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
        found.append(emit(w.service, EventReason.DEVICE_GONE, judge_online(w).message))
    return found
