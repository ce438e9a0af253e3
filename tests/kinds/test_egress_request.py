"""What an egress Service asks for: a table of annotations and shapes, and one sentence for each wrong input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.api import kube
from tailrace.fleet.install import Defaults
from tailrace.kinds.egress import request
from tailrace.proxy import spec
from tailrace.settings import Mode

DEFAULTS = Defaults(tags=("tag:k8s",), mode=Mode.USERSPACE, load_balancer=False, proxy_class="usual")
FQDN, IP, OLD = (
    "tailscale.com/tailnet-fqdn",
    "tailscale.com/tailnet-ip",
    "tailscale.com/ts-tailnet-target-ip",
)


def build(notes: dict[str, str], **fields: Any) -> kube.Service:
    values = {"type": "ExternalName", "externalName": "unused", **fields}
    return kube.Service(
        metadata=kube.ObjectMeta(name="db", namespace="demo", annotations=notes),
        spec=kube.ServiceSpec(**values),
    )


def read(notes: dict[str, str], **fields: Any) -> request.Request:
    return request.read_request(build(notes, **fields), DEFAULTS)


@pytest.mark.parametrize(
    ("notes", "target"),
    [
        ({FQDN: "db.tail1234.ts.net"}, spec.TailnetName(fqdn="db.tail1234.ts.net")),
        ({FQDN: "DB.tail1234.ts.net."}, spec.TailnetName(fqdn="db.tail1234.ts.net")),
        ({FQDN: "db.lan"}, spec.TailnetName(fqdn="db.lan")),
        ({FQDN: "db.a.headscale.example.org"}, spec.TailnetName(fqdn="db.a.headscale.example.org")),
        ({IP: "100.64.0.7"}, spec.TailnetAddress(ip="100.64.0.7")),
        ({IP: "192.168.1.20"}, spec.TailnetAddress(ip="192.168.1.20")),
        ({IP: "FD7A:115C:A1E0:0::7"}, spec.TailnetAddress(ip="fd7a:115c:a1e0::7")),
        ({OLD: "100.64.0.8"}, spec.TailnetAddress(ip="100.64.0.8")),
        ({IP: "100.64.0.7", OLD: "100.64.0.8"}, spec.TailnetAddress(ip="100.64.0.7")),
    ],
)
def test_a_target_is_a_name_under_any_domain_or_an_address(
    notes: dict[str, str], target: request.Target
) -> None:
    """The old key is an alias, and the new one wins."""
    found = read(notes)
    assert found.violations == ()
    assert found.target == target


@pytest.mark.parametrize(
    ("notes", "fields", "sentence"),
    [
        ({FQDN: "db"}, {}, f'{FQDN} "db" is not the full name of a device'),
        ({FQDN: ""}, {}, "is not the full name of a device"),
        ({FQDN: "db..ts.net"}, {}, 'for example "db.example.ts.net"'),
        ({FQDN: "-db.ts.net"}, {}, "is not the full name of a device"),
        ({FQDN: "100.64.0.7"}, {}, f"for an address use {IP}"),
        ({FQDN: "fd7a::1"}, {}, f"for an address use {IP}"),
        ({IP: "192.168.1.0/24"}, {}, "a range is not possible"),
        ({IP: "db.ts.net"}, {}, f"for a name use {FQDN}"),
        ({IP: "300.1.2.3"}, {}, 'write one such as "100.64.0.7"'),
        ({IP: ""}, {}, "is not an IP address"),
        ({OLD: "x"}, {}, f'{OLD} "x" is not an IP address'),
        ({IP: "fe80::1%eth0"}, {}, "that no proxy can lead to"),
        ({IP: "0.0.0.0"}, {}, "that no proxy can lead to"),
        ({FQDN: "db.ts.net", IP: "100.64.0.7"}, {}, f"{FQDN} and {IP} exclude each other"),
        ({FQDN: "db.ts.net", OLD: "100.64.0.7"}, {}, f"{FQDN} and {OLD} exclude each other"),
        (
            {FQDN: "db.ts.net"},
            {"type": "ClusterIP", "clusterIP": "None"},
            "headless Services are not supported",
        ),
        ({FQDN: "db.ts.net", "tailscale.com/expose": "true"}, {}, "write one of the two"),
        ({IP: "100.64.0.7"}, {"type": "LoadBalancer", "loadBalancerClass": "tailscale"}, f"or {IP}"),
        ({FQDN: "db.ts.net", "tailrace.dev/mode": "userspace"}, {}, "works in kernel mode only"),
        ({FQDN: "db.ts.net", "tailscale.com/hostname": "a.b"}, {}, "has dots"),
        ({FQDN: "db.ts.net", "tailscale.com/tags": "k8s"}, {}, 'write "tag:"'),
        ({FQDN: "db.ts.net", "tailrace.dev/name-conflict": "sufix"}, {}, 'did you mean "suffix"?'),
    ],
)
def test_what_is_wrong_is_one_sentence(notes: dict[str, str], fields: dict[str, str], sentence: str) -> None:
    wrong = read(notes, **fields).violations
    assert len(wrong) == 1
    assert sentence in wrong[0]


def test_all_faults_are_told_together() -> None:
    notes = {FQDN: "db", IP: "x", "tailscale.com/tags": "a", "tailscale.com/expose": "true"}
    assert len(read(notes).violations) == 4


def test_the_rest_is_read_as_for_an_exposed_service() -> None:
    """The mode that is usual here does not count: there is only one."""
    notes = {
        FQDN: "db.ts.net",
        "tailscale.com/hostname": "Out",
        "tailscale.com/tags": "tag:b, tag:a",
        "tailrace.dev/tailnet": "lab",
        "tailrace.dev/recreate": "1",
    }
    found = read(notes)
    assert found.violations == ()
    assert (found.hostname, found.tags, found.tailnet) == ("out", ("tag:a", "tag:b"), "lab")
    assert (found.recreate, found.proxy_class) == ("1", "usual")


def test_a_proxy_group_is_told_and_useless_annotations_too() -> None:
    notes = {FQDN: "db.ts.net", "tailscale.com/proxy-group": "", "tailrace.dev/proxy-protocol": "v2"}
    found = read(notes)
    assert "a ProxyGroup" in found.later[0]
    assert "has no effect here" in found.unknown[0]


@given(st.text(max_size=80), st.sampled_from([FQDN, IP, OLD]))
def test_any_text_is_a_target_or_a_sentence(text: str, key: str) -> None:
    found = read({key: text})
    assert (found.target is None) == bool(found.violations)
