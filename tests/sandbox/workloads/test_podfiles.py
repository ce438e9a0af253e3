"""Environment and mounts are what a kubelet would make of them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tailrace.sandbox.workloads import podfiles

SECRET = {"kind": "Secret", "data": {"serve-config": base64.b64encode(b"{}").decode(), "other": ""}}


def read(kind: str, name: str) -> dict[str, Any] | None:
    return SECRET if (kind, name) == ("Secret", "px") else None


def pod(container: dict[str, Any], volumes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "px-0", "namespace": "ns", "uid": "u1", "annotations": {"a/b": "c"}},
        "spec": {"containers": [container], "volumes": volumes or []},
        "status": {"podIP": "127.10.0.5"},
    }


def test_references_expand_in_order() -> None:
    """Earlier variables only; `$$` escapes; unknown names stay."""
    container = {
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "ADDR", "value": "$(POD_IP):9002"},
            {"name": "RAW", "value": "$$(POD_IP) $(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a/b']"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "px", "key": "serve-config"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}},
        ]
    }
    env = podfiles.build_environment(pod(container), container, read, base={})
    assert env == {
        "POD_IP": "127.10.0.5",
        "ADDR": "127.10.0.5:9002",
        "RAW": "$(POD_IP) $(LATER)",
        "LATER": "x",
        "NOTE": "c",
        "KEY": "{}",
    }


def test_a_missing_secret_keeps_the_container_from_starting() -> None:
    container = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]}
    with pytest.raises(podfiles.MissingSource, match='secret "no" not found'):
        podfiles.build_environment(pod(container), container, read, base={})


def test_mounts_show_items_and_projections() -> None:
    """Whole Secrets, chosen items, projected sources and sub-paths."""
    container = {
        "volumeMounts": [
            {"name": "all", "mountPath": "/etc/tsconfig/"},
            {"name": "some", "mountPath": "/etc/serve"},
            {"name": "one", "mountPath": "/file", "subPath": "x/y"},
        ]
    }
    item = {"items": [{"key": "serve-config", "path": "x/y"}]}
    volumes = [
        {"name": "all", "secret": {"secretName": "px"}},
        {"name": "some", "projected": {"sources": [{"secret": {"name": "px"} | item}]}},
        {"name": "one", "secret": {"secretName": "px"} | item},
    ]
    files = podfiles.build_files(pod(container, volumes), container, read)
    assert files == {
        "/etc/tsconfig/serve-config": b"{}",
        "/etc/tsconfig/other": b"",
        "/etc/serve/x/y": b"{}",
        "/file": b"{}",
    }
    assert podfiles.mounted_sources(pod(container, volumes)) == {("Secret", "px")}
