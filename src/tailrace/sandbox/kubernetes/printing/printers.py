"""The cells of built-in kinds: what `kubectl get` shows of a Service, a node, an event.

Place: `tables` calls `cells`; `printercolumns` has the columns that they fill, `podprinter` the pods. The tests compare
them with what a kube-apiserver answered.

Source: `k8s.io/kubernetes/pkg/printers/internalversion`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from tailrace.sandbox.kubernetes.printing.ages import humanize, parse_time, since
from tailrace.sandbox.kubernetes.printing.podprinter import pod_cells
from tailrace.sandbox.kubernetes.printing.printercolumns import columns

Doc = dict[str, Any]
Cells = list[Any]
Printer = Callable[[Doc, datetime], Cells]


def cells(resource: str, doc: Doc, now: datetime) -> Cells:
    """A value for each of `columns(resource)`. `doc` is as the server stores it, defaults filled in."""
    if resource == "events":
        return _event(doc, now)
    meta = doc["metadata"]
    printer = _PRINTERS.get(resource)
    if printer is None:
        return [meta["name"], meta.get("creationTimestamp")]
    found = [meta["name"], *printer(doc, now)]
    age = next((i for i, column in enumerate(columns(resource)) if column["name"] == "Age"), None)
    if age is not None:
        found.insert(age, since(meta.get("creationTimestamp"), now))
    if resource == "storageclasses" and _is_default_class(meta):
        found[0] += " (default)"
    return found


# ---- pieces that several kinds share


def _spec(doc: Doc) -> Doc:
    return doc.get("spec") or {}


def _status(doc: Doc) -> Doc:
    return doc.get("status") or {}


def _join(values: Iterable[Any], otherwise: str = "<none>", separator: str = ",") -> str:
    return separator.join(str(v) for v in values) or otherwise


def _first_three(values: list[str], otherwise: str) -> str:
    """`a,b,c + 2 more...`"""
    more = f" + {len(values) - 3} more..." if len(values) > 3 else ""
    return _join(values[:3], otherwise) + more


def _labels(labels: Mapping[str, str] | None) -> str:
    return _join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def _selector(selector: Doc | None) -> str:
    """A label selector as text: `app=web,tier in (a,b),!old`."""
    selector = selector or {}
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], _join(sorted(rule.get("values") or ()), "")
        words = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        parts.append((key, words.get(rule["operator"], key)))
    return _join(text for _, text in sorted(parts, key=lambda part: part[0]))


def _template(doc: Doc) -> list[str]:
    """The containers' names and images of a workload's template."""
    containers = _spec(_spec(doc).get("template") or {}).get("containers") or ()
    return [_join((c.get(key, "") for c in containers), "") for key in ("name", "image")]


def _condition(doc: Doc, type_: str) -> Doc:
    return next((c for c in _status(doc).get("conditions") or () if c.get("type") == type_), {})


def _is_true(doc: Doc, type_: str) -> bool:
    return bool(_condition(doc, type_).get("status") == "True")


def _load_balancer(doc: Doc) -> str:
    ingress = (_status(doc).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""}))


# ---- core


def _namespace(doc: Doc, now: datetime) -> Cells:
    return [_status(doc).get("phase", "")]


def _service(doc: Doc, now: datetime) -> Cells:
    spec = _spec(doc)
    ports = (
        f"{p['port']}{f':{p["nodePort"]}' if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or ()
    )
    return [
        spec.get("type", ""),
        next(iter(spec.get("clusterIPs") or ()), "<none>"),
        _external_ip(doc),
        _join(ports),
        _labels(spec.get("selector")),
    ]


def _external_ip(doc: Doc) -> str:
    spec = _spec(doc)
    external = ",".join(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            return ",".join(filter(None, (_load_balancer(doc), external))) or "<pending>"
        case "ClusterIP" | "NodePort":
            return external or "<none>"
        case _:
            return "<unknown>"


def _endpoints(doc: Doc, now: datetime) -> Cells:
    found: list[str] = []
    for subset in doc.get("subsets") or ():
        addresses = [a["ip"] for a in subset.get("addresses") or ()]
        numbers = [port["port"] for port in subset.get("ports") or ()] or [None]
        for number in numbers:
            found += [_host_port(ip, number) for ip in addresses]
    return [_first_three(found, "" if doc.get("subsets") else "<none>")]


def _host_port(ip: str, port: int | None) -> str:
    if port is None:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _secret(doc: Doc, now: datetime) -> Cells:
    return [doc.get("type", ""), len(doc.get("data") or ())]


def _config_map(doc: Doc, now: datetime) -> Cells:
    return [len(doc.get("data") or ()) + len(doc.get("binaryData") or ())]


def _age_only(doc: Doc, now: datetime) -> Cells:
    return []


def _event(doc: Doc, now: datetime) -> Cells:
    """Both forms of an event: `v1`, and `events.k8s.io/v1` that has other names for the same."""
    about = doc.get("involvedObject") or doc.get("regarding") or {}
    source = doc.get("source") or doc.get("deprecatedSource") or {}
    series = doc.get("series")
    first = doc.get("firstTimestamp") or doc.get("deprecatedFirstTimestamp") or doc.get("eventTime")
    last = doc.get("lastTimestamp") or doc.get("deprecatedLastTimestamp") or first
    count = doc.get("count") or doc.get("deprecatedCount") or 1
    if series:
        last, count = series.get("lastObservedTime"), series.get("count", 0)
    component = (
        source.get("component") or doc.get("reportingComponent") or doc.get("reportingController") or ""
    )
    host = source.get("host") or doc.get("reportingInstance")
    kind, name = about.get("kind", "").lower(), about.get("name")
    return [
        since(last, now),
        doc.get("type", ""),
        doc.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        (doc.get("message") or doc.get("note") or "").strip(),
        since(first, now),
        count,
        doc["metadata"]["name"],
    ]


def _node(doc: Doc, now: datetime) -> Cells:
    labels, info = doc["metadata"].get("labels") or {}, _status(doc).get("nodeInfo") or {}
    prefix = "node-role.kubernetes.io/"
    roles = {key.removeprefix(prefix) for key in labels if key.startswith(prefix)}
    roles.add(labels.get("kubernetes.io/role", ""))
    ready = _condition(doc, "Ready")
    state = ("Ready" if _is_true(doc, "Ready") else "NotReady") if ready else "Unknown"
    addresses = _status(doc).get("addresses") or ()
    by_type = {a["type"]: a["address"] for a in reversed(addresses)}
    machine = f" ({info['architecture']})" if info.get("architecture") else ""
    return [
        state + (",SchedulingDisabled" if _spec(doc).get("unschedulable") else ""),
        _join(sorted(roles - {""})),
        info.get("kubeletVersion", ""),
        by_type.get("InternalIP", "<none>"),
        by_type.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        (info.get("kernelVersion") or "<unknown>") + machine,
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(modes: Iterable[str] | None) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _storage_class(doc: Doc) -> str:
    old = (doc["metadata"].get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    return str(old if old is not None else _spec(doc).get("storageClassName") or "")


def _phase(doc: Doc) -> str:
    return "Terminating" if doc["metadata"].get("deletionTimestamp") else str(_status(doc).get("phase", ""))


def _volume_claim(doc: Doc, now: datetime) -> Cells:
    spec, status = _spec(doc), _status(doc)
    bound = bool(spec.get("volumeName"))
    return [
        _phase(doc),
        spec.get("volumeName", ""),
        str((status.get("capacity") or {}).get("storage", "0")) if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        _storage_class(doc),
        spec.get("volumeAttributesClassName", "<unset>"),
        spec.get("volumeMode", "<unset>"),
    ]


def _volume(doc: Doc, now: datetime) -> Cells:
    spec = _spec(doc)
    claim = spec.get("claimRef")
    return [
        str((spec.get("capacity") or {}).get("storage", "0")),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(doc),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _storage_class(doc),
        spec.get("volumeAttributesClassName", "<unset>"),
        _status(doc).get("reason", ""),
        spec.get("volumeMode", "<unset>"),
    ]


def _quota(doc: Doc, now: datetime) -> Cells:
    hard, used = _status(doc).get("hard") or {}, _status(doc).get("used") or {}
    texts = [(name, f"{name}: {used.get(name, '0')}/{value}") for name, value in sorted(hard.items())]
    return [
        ", ".join(text for name, text in texts if name.startswith("limits") is limits)
        for limits in (False, True)
    ]


# ---- workloads


def _replicas(doc: Doc, now: datetime) -> Cells:
    status, selector = _status(doc), _spec(doc).get("selector")
    plain = doc.get("kind") == "ReplicationController"
    return [
        _spec(doc).get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        *_template(doc),
        _labels(selector) if plain else _selector(selector),
    ]


def _pod_template(doc: Doc, now: datetime) -> Cells:
    template = doc.get("template") or {}
    return [*_template({"spec": doc}), _labels((template.get("metadata") or {}).get("labels"))]


def _ready(doc: Doc) -> str:
    return f"{_status(doc).get('readyReplicas', 0)}/{_spec(doc).get('replicas', 0)}"


def _deployment(doc: Doc, now: datetime) -> Cells:
    counts = (_status(doc).get(key, 0) for key in ("updatedReplicas", "availableReplicas"))
    return [_ready(doc), *counts, *_template(doc), _selector(_spec(doc).get("selector"))]


def _stateful_set(doc: Doc, now: datetime) -> Cells:
    return [_ready(doc), *_template(doc)]


def _daemon_set(doc: Doc, now: datetime) -> Cells:
    spec, status = _spec(doc), _status(doc)
    words = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    return [
        *(status.get(word, 0) for word in (*words, "numberAvailable")),
        _labels(_spec(spec.get("template") or {}).get("nodeSelector")),
        *_template(doc),
        _selector(spec.get("selector")),
    ]


def _controller_revision(doc: Doc, now: datetime) -> Cells:
    owners = doc["metadata"].get("ownerReferences") or ()
    owner = next((o for o in owners if o.get("controller")), None)
    if owner is None:
        return ["<none>", doc.get("revision", 0)]
    group, _, _ = owner["apiVersion"].rpartition("/")
    kind = f"{owner['kind']}.{group}" if group else owner["kind"]
    return [f"{kind.lower()}/{owner['name']}", doc.get("revision", 0)]


def _job(doc: Doc, now: datetime) -> Cells:
    spec, status = _spec(doc), _status(doc)
    done, parallel = status.get("succeeded", 0), spec.get("parallelism", 0)
    wanted = spec.get("completions")
    of = f" of {parallel}" if wanted is None and parallel > 1 else ""
    start, end = status.get("startTime"), status.get("completionTime")
    until = parse_time(end) if end else now
    return [
        _job_state(doc),
        f"{done}/{1 if wanted is None else wanted}{of}",
        humanize((until - parse_time(start)).total_seconds()) if start else "",
        *_template(doc),
        _selector(spec.get("selector")),
    ]


def _job_state(doc: Doc) -> str:
    if _is_true(doc, "Complete"):
        return "Complete"
    if _is_true(doc, "Failed"):
        return "Failed"
    if doc["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((state for state in ("Suspended", "FailureTarget") if _is_true(doc, state)), "Running")


def _cron_job(doc: Doc, now: datetime) -> Cells:
    spec, status = _spec(doc), _status(doc)
    job, last = spec.get("jobTemplate") or {}, status.get("lastScheduleTime")
    return [
        spec.get("schedule", ""),
        spec.get("timeZone", "<none>"),
        str(spec.get("suspend", "<unset>")),
        len(status.get("active") or ()),
        since(last, now) if last else "<none>",
        *_template(job),
        _selector(_spec(job).get("selector")),
    ]


def _service_cidr(doc: Doc, now: datetime) -> Cells:
    return [",".join(_spec(doc).get("cidrs") or ())]


def _disruption_budget(doc: Doc, now: datetime) -> Cells:
    spec = _spec(doc)
    limits = (str(spec.get(key, "N/A")) for key in ("minAvailable", "maxUnavailable"))
    return [*limits, _status(doc).get("disruptionsAllowed", 0)]


# ---- network


def _ingress(doc: Doc, now: datetime) -> Cells:
    spec = _spec(doc)
    return [
        spec.get("ingressClassName", "<none>"),
        _hosts(spec.get("rules") or []),
        _load_balancer(doc),
        "80, 443" if spec.get("tls") else "80",
    ]


def _hosts(rules: list[Doc]) -> str:
    """The server counts rules without a host among those that it leaves out, once three hosts are shown."""
    hosts = [(i, rule["host"]) for i, rule in enumerate(rules) if rule.get("host")]
    more = len(hosts) >= 3 and hosts[2][0] < len(rules) - 1
    return _join((host for _, host in hosts[:3]), "*") + (f" + {len(rules) - 3} more..." if more else "")


def _ingress_class(doc: Doc, now: datetime) -> Cells:
    spec = _spec(doc)
    link = spec.get("parameters")
    if not link:
        return [spec.get("controller", ""), "<none>"]
    kind = f"{link['kind']}.{link['apiGroup']}" if "apiGroup" in link else link["kind"]
    return [spec.get("controller", ""), f"{kind}/{link['name']}"]


def _network_policy(doc: Doc, now: datetime) -> Cells:
    return [_selector(_spec(doc).get("podSelector"))]


def _endpoint_slice(doc: Doc, now: datetime) -> Cells:
    ports = [str(p.get("port") or p.get("name", "*")) for p in doc.get("ports") or ()]
    addresses = [a for endpoint in doc.get("endpoints") or () for a in endpoint.get("addresses") or ()]
    return [doc.get("addressType", ""), _first_three(ports, "<unset>"), _first_three(addresses, "<unset>")]


# ---- the rest


def _role_binding(doc: Doc, now: datetime) -> Cells:
    names: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in doc.get("subjects") or ():
        place = f"{subject.get('namespace', '')}/" if subject["kind"] == "ServiceAccount" else ""
        names.setdefault(subject["kind"], []).append(place + subject["name"])
    role = doc["roleRef"]
    return [
        f"{role['kind']}/{role['name']}",
        *(", ".join(names[k]) for k in ("User", "Group", "ServiceAccount")),
    ]


def _lease(doc: Doc, now: datetime) -> Cells:
    return [_spec(doc).get("holderIdentity", "")]


def _class_of_storage(doc: Doc, now: datetime) -> Cells:
    return [
        doc.get("provisioner", ""),
        doc.get("reclaimPolicy", "Delete"),
        doc.get("volumeBindingMode", "Immediate"),
        doc.get("allowVolumeExpansion", False),
    ]


def _is_default_class(meta: Doc) -> bool:
    annotations = meta.get("annotations") or {}
    words = (
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    )
    return any(annotations.get(word) == "true" for word in words)


def _priority_class(doc: Doc, now: datetime) -> Cells:
    policy = doc.get("preemptionPolicy", "PreemptLowerPriority")
    return [doc.get("value", 0), doc.get("globalDefault", False), policy]


def _api_service(doc: Doc, now: datetime) -> Cells:
    service, state = _spec(doc).get("service"), _condition(doc, "Available")
    available = state.get("status", "Unknown")
    if state and available != "True":
        available = f"{available} ({state.get('reason', '')})"
    return [f"{service['namespace']}/{service['name']}" if service else "Local", available]


_PRINTERS: Final[Mapping[str, Printer]] = {
    "namespaces": _namespace,
    "pods": pod_cells,
    "services": _service,
    "endpoints": _endpoints,
    "secrets": _secret,
    "configmaps": _config_map,
    "serviceaccounts": _age_only,
    "nodes": _node,
    "persistentvolumeclaims": _volume_claim,
    "persistentvolumes": _volume,
    "resourcequotas": _quota,
    "replicationcontrollers": _replicas,
    "podtemplates": _pod_template,
    "deployments": _deployment,
    "statefulsets": _stateful_set,
    "daemonsets": _daemon_set,
    "replicasets": _replicas,
    "controllerrevisions": _controller_revision,
    "jobs": _job,
    "cronjobs": _cron_job,
    "ingresses": _ingress,
    "ingressclasses": _ingress_class,
    "networkpolicies": _network_policy,
    "endpointslices": _endpoint_slice,
    "rolebindings": _role_binding,
    "clusterrolebindings": _role_binding,
    "leases": _lease,
    "servicecidrs": _service_cidr,
    "poddisruptionbudgets": _disruption_budget,
    "storageclasses": _class_of_storage,
    "priorityclasses": _priority_class,
    "apiservices": _api_service,
}
