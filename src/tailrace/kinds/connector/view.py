"""A Connector as one row for people and programs. Pure."""

from __future__ import annotations

from tailrace.api import kube, names
from tailrace.api.connector import Connector
from tailrace.fleet.approval import EXIT
from tailrace.fleet.view import Row
from tailrace.fleet.view import build_row as build_common
from tailrace.kinds.connector import request
from tailrace.kinds.connector.truth import build_root


def build_row(connector: Connector, workload: kube.StatefulSet | None) -> Row:
    """The row of a Connector, of which its status knows all but the mode. `workload` is that of any replica."""
    asked, status = connector.spec, connector.status
    return build_common(
        build_root(connector),
        mode=workload.metadata.annotations.get(names.PROXY_MODE, "") if workload else "",
        devices=(d.hostname for d in status.devices),
        addresses=status.tailnetIPs,
        routes=(*request.list_routes(asked), *(EXIT if asked.exitNode else ())),
    )
