"""Pod security at admission: pods are refused, workloads and namespaces only warned about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tailrace.sandbox.kubernetes.admission import AdmissionReply, AdmissionRequest
from tailrace.sandbox.workloads import namespacepolicy

Doc = dict[str, Any]

_TEMPLATES: dict[tuple[str, str], Callable[[Doc], Doc]] = {
    ("apps", "daemonsets"): lambda doc: doc["spec"]["template"],
    ("apps", "deployments"): lambda doc: doc["spec"]["template"],
    ("apps", "replicasets"): lambda doc: doc["spec"]["template"],
    ("apps", "statefulsets"): lambda doc: doc["spec"]["template"],
    ("batch", "cronjobs"): lambda doc: doc["spec"]["jobTemplate"]["spec"]["template"],
    ("batch", "jobs"): lambda doc: doc["spec"]["template"],
}


class PodSecurity:
    """An admission plug-in over the labels of namespaces."""

    def __init__(self, namespace: Callable[[str], Doc | None], pods_in: Callable[[str], list[Doc]]) -> None:
        self._namespace = namespace
        self._pods_in = pods_in

    def __call__(self, request: AdmissionRequest) -> AdmissionReply | None:
        doc, kind = request.object, request.resource.storage
        if doc is None or request.subresource:
            return None
        if kind == ("", "namespaces"):
            return self._judge_namespace(request, doc)
        if kind == ("", "pods") and request.operation == "CREATE":
            policy = self._policy(request.namespace)
            refusal = namespacepolicy.refuse_pod(policy, doc["metadata"], doc["spec"])
            warning = namespacepolicy.warn_about(policy, doc["metadata"], doc["spec"])
            return AdmissionReply(refusal or "", (warning,) if warning and not refusal else ())
        if (template_of := _TEMPLATES.get(kind)) and (
            request.old is None or template_of(doc) != template_of(request.old)
        ):
            template = template_of(doc)
            policy = self._policy(request.namespace)
            warning = namespacepolicy.warn_about(
                policy, template.get("metadata") or {}, template.get("spec") or {}
            )
            return AdmissionReply(warnings=(warning,) if warning else ())
        return None

    def _policy(self, namespace: str) -> namespacepolicy.Policy:
        found = self._namespace(namespace)
        return namespacepolicy.read_policy((found or {"metadata": {}})["metadata"].get("labels") or {})

    def _judge_namespace(self, request: AdmissionRequest, doc: Doc) -> AdmissionReply | None:
        new = namespacepolicy.read_policy(doc["metadata"].get("labels") or {})
        old_labels = (request.old or {"metadata": {}})["metadata"].get("labels") or {}
        old = namespacepolicy.read_policy(old_labels)
        if new.problems and new.problems != old.problems:
            label, value, must = new.problems[0]
            return AdmissionReply(f'metadata.labels[{label}]: Invalid value: "{value}": {must}')
        if request.operation == "UPDATE":
            warnings = namespacepolicy.warn_about_existing(
                request.name, old, new, self._pods_in(request.name)
            )
            return AdmissionReply(warnings=tuple(warnings))
        return None
