"""What the API server's audit log says that somebody did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

READING = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One answered request."""

    user: str
    token: str  # id of the token: tells apart processes that share an account
    verb: str  # of RBAC
    group: str
    resource: str  # with its subresource, as RBAC writes it: services/status
    namespace: str
    name: str
    code: int
    fields: str  # the field selector of a list or watch
    dry_run: bool
    at: datetime  # when the server received it

    @property
    def writes(self) -> bool:
        return self.verb not in READING and not self.dry_run and self.code < 400

    @property
    def target(self) -> str:
        return f"{self.verb} {self.resource} {self.namespace}/{self.name} {self.code} {self.at:%M:%S.%f}"


def read(log: Path) -> list[Call]:
    """All requests for resources, in the order in which the server received them."""
    calls = (build_call(json.loads(line)) for line in read_lines(log))
    return sorted((call for call in calls if call is not None), key=lambda call: call.at)


def read_lines(log: Path) -> Iterator[str]:
    with log.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # the last one may be half written
                yield line


def build_call(event: dict[str, Any]) -> Call | None:
    """None for what is no request for a resource, and for a watch's second entry, at its end."""
    target = event.get("objectRef")
    if target is None or (event["verb"] == "watch" and event["stage"] != "ResponseStarted"):
        return None
    query = parse_qs(urlsplit(event["requestURI"]).query)
    extra = event["user"].get("extra", {})
    return Call(
        user=event["user"]["username"],
        token=extra.get("authentication.kubernetes.io/credential-id", [""])[0],
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource="/".join(part for part in (target["resource"], target.get("subresource", "")) if part),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        fields=query.get("fieldSelector", [""])[0],
        dry_run="dryRun" in query,
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
    )
