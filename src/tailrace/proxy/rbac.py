"""The narrow rights of one proxy: its own Secret, and events about its own pod; nothing else, nowhere else."""

from __future__ import annotations

from typing import Any

from tailrace.proxy import spec


def build_rbac(proxy: spec.ProxySpec) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """ServiceAccount, Role, RoleBinding.

    containerboot refuses to start without `get` and `update` on its Secret and silently never reports its device
    without `patch`; for events it wants all three verbs or none.
    """
    meta = {"name": proxy.name, "namespace": proxy.namespace, "labels": dict(proxy.labels)}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": [proxy.secret_name],
                "verbs": ["get", "update", "patch"],
            },
            {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "create", "patch"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": proxy.name},
        "subjects": [{"kind": "ServiceAccount", "name": proxy.name, "namespace": proxy.namespace}],
    }
    return account, role, binding
