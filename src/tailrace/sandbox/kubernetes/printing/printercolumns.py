"""The columns that `kubectl get` shows of each built-in kind.

Place: `printers` makes the cells for them. The server always sends the wide columns too (priority 1); kubectl hides
them. Kinds that have no columns of their own show NAME and CREATED AT.

Source: `AddHandlers` in `k8s.io/kubernetes/pkg/printers/internalversion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Doc = dict[str, Any]

# resource: columns that follow the name, a comma between; `!` is an integer, `?` a boolean, `@` a date, `+` wide only
_COLUMNS: Final = """
namespaces: Status, Age
pods: Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+
services: Type, Cluster-IP, External-IP, Port(s), Age, Selector+
endpoints: Endpoints, Age
secrets: Type, Data, Age
configmaps: Data, Age
serviceaccounts: Age
nodes: Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, Container-Runtime+
persistentvolumeclaims: Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, VolumeMode+
persistentvolumes: Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, VolumeAttributesClass, \
Reason, Age, VolumeMode+
resourcequotas: Request, Limit, Age
replicationcontrollers: Desired!, Current!, Ready!, Age, Containers+, Images+, Selector+
podtemplates: Containers, Images, Pod Labels
deployments: Ready, Up-to-date, Available, Age, Containers+, Images+, Selector+
statefulsets: Ready, Age, Containers+, Images+
daemonsets: Desired!, Current!, Ready!, Up-to-date!, Available!, Node Selector, Age, Containers+, Images+, Selector+
replicasets: Desired!, Current!, Ready!, Age, Containers+, Images+, Selector+
controllerrevisions: Controller, Revision, Age
jobs: Status, Completions, Duration, Age, Containers+, Images+, Selector+
cronjobs: Schedule, Timezone, Suspend?, Active!, Last Schedule, Age, Containers+, Images+, Selector+
ingresses: Class, Hosts, Address, Ports, Age
ingressclasses: Controller, Parameters, Age
networkpolicies: Pod-Selector, Age
servicecidrs: CIDRs, Age
endpointslices: AddressType, Ports, Endpoints, Age
rolebindings: Role, Age, Users+, Groups+, ServiceAccounts+
clusterrolebindings: Role, Age, Users+, Groups+, ServiceAccounts+
leases: Holder, Age
poddisruptionbudgets: Min Available, Max Unavailable, Allowed Disruptions!, Age
storageclasses: Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age
priorityclasses: Value!, Global-Default?, Age, PreemptionPolicy
apiservices: Service, Available, Age
"""
_EVENT: Final = "Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count+, Name+"
_OTHER: Final = "Created At@"

# What a column tells. Clients show it nowhere, so one sentence for each name serves every kind.
_MEANING: Final[Mapping[str, str]] = {
    "Name": "The name of the object, unique among its kind in its namespace.",
    "Age": "How long ago the object was created.",
    "Created At": "When the object was created.",
    "Containers": "The names of the template's containers.",
    "Images": "The images of the template's containers.",
    "Selector": "Which pods are meant.",
    "Ready": "How many are ready, of how many there should be.",
    "Restarts": "How often containers were started again, and how long ago that last happened.",
    "External-IP": "Where it can be reached from outside of the cluster.",
    "Port(s)": "The ports that it offers, with the nodes' ports behind a colon.",
    "Parameters": "The object that holds more settings.",
    "Last Seen": "How long ago it happened the last time.",
    "First Seen": "How long ago it happened the first time.",
    "Count": "How often it happened.",
    "Object": "What it happened to.",
    "Hosts": "The host names that have rules.",
    "Address": "Where the load balancer can be reached.",
    "Duration": "How long the job ran, or runs already.",
    "Holder": "Who holds the lease.",
    "Up-to-date": "How many pods have the newest template.",
    "Available": "What is available.",
    "Desired": "How many there should be.",
    "Current": "How many there are.",
}


def columns(resource: str) -> list[Doc]:
    """The `columnDefinitions` of a built-in resource, by its plural name (names are unique but for `events`)."""
    if resource == "events":
        return [_column(text) for text in _EVENT.split(", ")]
    return [_column(text) for text in ("Name", *_SPECS.get(resource, _OTHER).split(", "))]


def _column(text: str) -> Doc:
    name = text.rstrip("!?@+")
    kinds = {"!": "integer", "?": "boolean", "@": "date"}
    return {
        "name": name,
        "type": next((kind for mark, kind in kinds.items() if mark in text[len(name) :]), "string"),
        "format": "name" if name == "Name" else "",
        "description": _MEANING.get(name, f"The {name.lower()} of the object."),
        "priority": int(text.endswith("+")),
    }


_SPECS: Final = {
    name: spec for name, _, spec in (line.partition(": ") for line in _COLUMNS.strip().splitlines())
}
