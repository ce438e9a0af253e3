"""What a Service asks for: a table of annotations and shapes, and one sentence for each wrong input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.api import kube
from tailrace.fleet import wish
from tailrace.fleet.install import Defaults
from tailrace.kinds.service import request
from tailrace.settings import Mode

DEFAULTS = Defaults(tags=("tag:k8s",), mode=Mode.AUTO, load_balancer=False)
PORT = kube.ServicePort(port=80)


def build(
    notes: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    *,
    namespace: str = "demo",
    name: str = "web",
    ports: tuple[kube.ServicePort, ...] = (PORT,),
    **spec: str,
) -> kube.Service:
    """A Service; exposed unless `notes` say otherwise."""
    return kube.Service(
        metadata=kube.ObjectMeta(
            name=name,
            namespace=namespace,
            labels=labels or {},
            annotations={"tailscale.com/expose": "true", **(notes or {})},
        ),
        spec=kube.ServiceSpec(**{"clusterIP": "10.96.0.1", **spec}, ports=ports),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("service", "exposed"),
    [
        (build(), True),
        (build({"tailscale.com/expose": "false"}), False),
        (build({"tailscale.com/expose": "True"}), False),
        (build(clusterIP=""), False),
        (build({"tailscale.com/expose": ""}, type="LoadBalancer", loadBalancerClass="tailscale"), True),
        (build({"tailscale.com/expose": ""}, type="LoadBalancer", loadBalancerClass="other"), False),
        (build({"tailscale.com/expose": ""}, type="LoadBalancer"), False),
        (build(type="ExternalName", externalName="db.example.com", clusterIP=""), True),
        (build(type="ExternalName", externalName="", clusterIP=""), False),
    ],
)
def test_selection_is_the_official_operators(service: kube.Service, exposed: bool) -> None:
    assert request.is_exposed(service, DEFAULTS) is exposed


def test_a_load_balancer_without_a_class_is_ours_when_we_are_the_default() -> None:
    service = build({"tailscale.com/expose": ""}, type="LoadBalancer")
    assert request.is_exposed(service, Defaults(tags=(), mode=Mode.AUTO, load_balancer=True))


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ({"tailscale.com/expose": "True"}, 'write exactly "true"'),
        ({"tailscale.com/hostname": "service.example.com"}, 'has dots: write one label of 1 to 63 letters, digits and hyphens, for example "service-example-com"'),
        ({"tailscale.com/hostname": ""}, "is empty"),
        ({"tailscale.com/hostname": "-web-"}, 'for example "web"'),
        ({"tailscale.com/tags": "k8s"}, 'has "k8s": write "tag:"'),
        ({"tailscale.com/tags": ""}, 'has "": write "tag:"'),
        ({"tailrace.dev/mode": "kernl"}, 'did you mean "kernel"?'),
        ({"tailrace.dev/proxy-protocol": "v3"}, "write one of v1, v2"),
        ({"tailrace.dev/name-conflict": "replace"}, 'did you mean "replace-offline"?'),
        ({"tailrace.dev/proxy-protocol": "v1", "tailrace.dev/mode": "kernel"}, "needs userspace mode"),
    ],
)  # fmt: skip
def test_each_wrong_input_is_one_sentence_that_says_how_to_type_it(notes: dict[str, str], said: str) -> None:
    found = request.read_request(build(notes), DEFAULTS).violations
    assert len(found) == 1
    assert said in found[0]


def test_all_wrong_inputs_are_told_together() -> None:
    notes = {"tailscale.com/hostname": "a.b", "tailscale.com/tags": "x", "tailrace.dev/mode": "y"}
    assert len(request.read_request(build(notes), DEFAULTS).violations) == 3


def test_udp_is_refused_where_only_tcp_can_be_forwarded() -> None:
    dns = kube.ServicePort(port=53, protocol="UDP")
    for service in (
        build({"tailrace.dev/mode": "userspace"}, ports=(dns,)),
        build(clusterIP="None", ports=(PORT, dns)),
        build({"tailrace.dev/proxy-protocol": "v2"}, ports=(dns,)),
    ):
        assert "port 53 is not TCP" in request.read_request(service, DEFAULTS).violations[0]
    assert request.read_request(build(ports=(dns,)), DEFAULTS).violations == ()


@pytest.mark.parametrize(
    "service",
    [
        build({"tailscale.com/proxy-group": ""}),
    ],
)
def test_what_comes_later_is_named(service: kube.Service) -> None:
    assert len(request.read_request(service, DEFAULTS).later) == 1


@pytest.mark.parametrize(
    ("labels", "notes", "found"),
    [({}, {}, "usual"), ({"tailscale.com/proxy-class": ""}, {}, ""), ({}, {"tailscale.com/proxy-class": "b"}, "b"),
     ({"tailscale.com/proxy-class": "a"}, {"tailscale.com/proxy-class": "b"}, "a")],
)  # fmt: skip
def test_the_class_is_the_label_then_the_annotation_then_the_default(
    labels: dict[str, str], notes: dict[str, str], found: str
) -> None:
    """An empty one counts: it names none."""
    defaults = Defaults(tags=(), mode=Mode.AUTO, load_balancer=False, proxy_class="usual")
    assert request.read_request(build(notes, labels), defaults).proxy_class == found


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("tailscale.com/hostnam", "did you mean tailscale.com/hostname?"),
        ("tailscale.com/funnel", "works on an Ingress only"),
        ("tailrace.dev/xyzzy", "is not known"),
    ],
)
def test_unknown_names_of_ours_are_told(key: str, said: str) -> None:
    assert said in request.read_request(build({key: "true"}), DEFAULTS).unknown[0]


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_reading_is_total(hostname: str, tags: str, mode: str) -> None:
    """No text that a user can write raises, and what is accepted is a DNS label."""
    notes = {"tailscale.com/hostname": hostname, "tailscale.com/tags": tags, "tailrace.dev/mode": mode}
    found = request.read_request(build(notes), DEFAULTS)
    if not found.violations:
        assert wish.LABEL.fullmatch(found.hostname)
