"""Whether a policy is one, in Headscale's words: what its JSON decoder says of shapes, then what it says of names.

Not all that Headscale looks at: the parts that an emulation keeps and never evaluates (`ssh`, `tests`, `grants`) are
taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.sandbox.controlplane import prefixes

_KEYS = frozenset(
    [
        "groups",
        "hosts",
        "tagOwners",
        "acls",
        "grants",
        "nodeAttrs",
        "autoApprovers",
        "ssh",
        "tests",
        "sshTests",
        "randomizeClientPort",
    ]
)
_KINDS: Mapping[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    type(None): "null",
}


def check(document: Any) -> None:
    """Raises ValueError with the server's words."""
    _want(document, dict, "v2.Policy", "")
    for key in document:
        if key not in _KEYS:
            raise ValueError(f'unknown field: "{key}"')
    _check_owner_shapes(document.get("tagOwners", {}))
    _check_rule_shapes(document.get("acls", []))
    _check_approver_shapes(document.get("autoApprovers", {}))
    _check_names(document)


def _check_owner_shapes(owners: Any) -> None:
    _want(owners, dict, "v2.TagOwners", "/tagOwners")
    for tag, names in owners.items():
        at = f"/tagOwners/{tag}"
        if not tag.startswith("tag:"):
            _refuse(tag, "v2.Tag", at, f"tag must start with 'tag:', got: \"{tag}\"")
        _want(names, list, "[]v2.OwnerEnc", at)
        for number, name in enumerate(names):
            if not (isinstance(name, str) and ("@" in name or name.startswith(("tag:", "group:")))):
                _refuse(name, "v2.OwnerEnc", f"{at}/{number}", f'invalid owner format: "{name}"')


def _check_rule_shapes(rules: Any) -> None:
    _want(rules, list, "[]v2.ACL", "/acls")
    for number, rule in enumerate(rules):
        at = f"/acls/{number}"
        _want(rule, dict, "v2.ACL", at)
        if (action := rule.get("action")) != "accept":
            _refuse(
                action, "v2.Action", f"{at}/action", f'action="{action}" is not supported: invalid ACL action'
            )
        for place, target in enumerate(rule.get("dst", [])):
            if ":" not in target:
                _refuse(target, "v2.AliasWithPorts", f"{at}/dst/{place}", "hostport must contain a colon")


def _check_approver_shapes(approvers: Any) -> None:
    _want(approvers, dict, "v2.AutoApproverPolicy", "/autoApprovers")
    for route, names in approvers.get("routes", {}).items():
        at = f"/autoApprovers/routes/{route.replace('/', '~1')}"
        if fault := prefixes.fault(route):
            _refuse(route, "netip.Prefix", at, fault)
        _check_approvers(names, at)
    _check_approvers(approvers.get("exitNode", []), "/autoApprovers/exitNode")


def _check_approvers(names: Iterable[str], at: str) -> None:
    for number, name in enumerate(names):
        if not ("@" in name or name.startswith(("tag:", "group:"))):
            _refuse(name, "v2.AutoApproverEnc", f"{at}/{number}", f'invalid auto approver format: "{name}"')


def _check_names(document: Mapping[str, Any]) -> None:
    """Every group and tag that is named must be defined."""
    tags, groups = document.get("tagOwners", {}), document.get("groups", {})
    for tag, owners in tags.items():
        _check_groups(owners, groups)
        for owner in owners:
            if owner.startswith("tag:") and owner not in tags:
                raise ValueError(
                    f'multiple errors:\n\ttag not found: "{owner}"\n\ttag "{tag}" references undefined tag "{owner}"'
                )
    for rule in document.get("acls", []):
        _check_groups(rule.get("src", []), groups)
        for source in rule.get("src", []):
            if source.startswith("tag:") and source not in tags:
                raise ValueError(f'src=tag not found: "{source}"')
    approvers = document.get("autoApprovers", {})
    for names in (*approvers.get("routes", {}).values(), approvers.get("exitNode", [])):
        _check_groups(names, groups)
        for name in names:
            if name.startswith("tag:") and name not in tags:
                raise ValueError(f'tag not found: "{name}"')


def _check_groups(names: Iterable[str], groups: Mapping[str, Any]) -> None:
    for name in names:
        if name.startswith("group:") and name not in groups:
            raise ValueError(f'group not defined in policy: "{name}"')


def _want(value: Any, kind: type, go: str, at: str) -> None:
    if not isinstance(value, kind):
        _refuse(value, go, at)


def _refuse(value: Any, go: str, at: str, why: str = "") -> None:
    where = f' within "{at}"' if at else ""
    kind = _KINDS.get(type(value), "number")
    said = f"json: unable to unmarshal JSON {kind} into Go {go}{where}{f': {why}' if why else ''}"
    raise ValueError(f"parsing policy from bytes: {said}")
