"""Rows of what users asked for."""

from __future__ import annotations

from tailrace.api import kube
from tailrace.api.connector import Connector, ConnectorDevice, ConnectorSpec, ConnectorStatus
from tailrace.kinds.connector import view


def test_a_row_of_several_replicas_names_all_their_devices() -> None:
    devices = tuple(ConnectorDevice(hostname=f"home-{i}.lab.example") for i in range(3))
    status = ConnectorStatus(hostname=devices[0].hostname, devices=devices)
    home = Connector(metadata=kube.ObjectMeta(name="home"), spec=ConnectorSpec(exitNode=True), status=status)
    row = view.build_row(home, None)
    assert row.devices == tuple(d.hostname for d in devices)
    assert row.device == "home-0.lab.example"
