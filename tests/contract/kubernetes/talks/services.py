"""Services: addresses, node ports, and what follows a change of the type."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Talk
from tests.contract.kubernetes.talks.documents import service

_SPEC = ("spec",)


def a_cluster_ip_is_given_and_stays(talk: Talk) -> None:
    made = talk.post("services", service("a"), show=_SPEC)
    ip = made.body["spec"]["clusterIP"]
    talk.put("services/a", service("a", selector={"x": "y"}), show=_SPEC)
    talk.patch("services/a", {"spec": {"clusterIP": "127.96.255.1"}})
    talk.patch("services/a", {"spec": {"clusterIPs": ["127.96.255.1"]}})
    talk.patch("services/a", {"spec": {"clusterIP": ""}}, show=_SPEC)
    talk.patch("services/a", {"spec": {"clusterIP": "None"}})
    talk.patch("services/a", {"spec": {"clusterIP": None}}, show=_SPEC)
    talk.post("services", service("b", clusterIP=ip))
    talk.post("services", service("b", clusterIP="192.0.2.1"))
    talk.post("services", service("b", clusterIP="text"))
    talk.delete("services/a", quiet=True)
    talk.post("services", service("b", clusterIP=ip), show=_SPEC)


def headless(talk: Talk) -> None:
    talk.post("services", service("a", clusterIP="None"), show=_SPEC)
    talk.patch("services/a", {"spec": {"clusterIP": "127.96.255.2"}})
    talk.patch("services/a", {"spec": {"type": "NodePort"}})
    talk.post("services", service("b", clusterIP="None", ports=None), show=_SPEC)
    talk.post(
        "services", service("c", clusterIP="None", selector=None, publishNotReadyAddresses=True), show=_SPEC
    )


def names_elsewhere(talk: Talk) -> None:
    """An ExternalName has no address, gets one when it becomes something else, and gives it back."""
    talk.post("services", service("a", type="ExternalName", externalName="example.com"), show=_SPEC)
    talk.post("services", service("b", type="ExternalName"))
    talk.post("services", service("b", type="ExternalName", externalName="Not A Name"))
    talk.patch("services/a", {"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}}, show=_SPEC)
    talk.patch("services/a", {"spec": {"type": "ExternalName"}}, show=_SPEC)
    talk.patch("services/a", {"spec": {"type": "ExternalName", "externalName": "example.org"}}, show=_SPEC)
    talk.post(
        "services", service("c", type="ExternalName", externalName="example.com", clusterIP="127.96.255.3")
    )


def node_ports(talk: Talk) -> None:
    """Given, kept over changes, refused when taken, gone with the type."""
    made = talk.post("services", service("a", type="NodePort"), show=_SPEC)
    port = made.body["spec"]["ports"][0]["nodePort"]
    talk.patch("services/a", {"spec": {"ports": [{"port": 81}]}}, "strategic", show=("spec.ports.port",))
    talk.put("services/a", service("a", type="NodePort"), show=("spec.ports.port",))
    taken = talk.get("services/a", quiet=True).body["spec"]["ports"][0]["nodePort"]
    talk.post("services", service("b", type="NodePort", ports=[{"port": 80, "nodePort": taken}]))
    talk.post("services", service("b", type="NodePort", ports=[{"port": 80, "nodePort": 80}]))
    talk.post("services", service("b", ports=[{"port": 80, "nodePort": 30999}]))
    talk.patch("services/a", {"spec": {"type": "ClusterIP"}}, show=_SPEC)
    assert port


def load_balancers(talk: Talk) -> None:
    """What only that type has comes with it and goes with it."""
    made = service("a", type="LoadBalancer", loadBalancerClass="example.com/lb")
    talk.post("services", made, show=_SPEC)
    talk.patch("services/a", {"spec": {"loadBalancerClass": "example.com/other"}})
    talk.patch(
        "services/a", {"spec": {"externalTrafficPolicy": "Local"}}, show=("spec.externalTrafficPolicy",)
    )
    talk.patch(
        "services/a/status",
        {"status": {"loadBalancer": {"ingress": [{"hostname": "a.example.com"}]}}},
        show=("status",),
    )
    talk.patch("services/a", {"spec": {"type": "ClusterIP"}}, show=("spec", "status"))
    talk.patch(
        "services/a", {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}}, show=_SPEC
    )
    talk.post("services", service("b", loadBalancerClass="example.com/lb"))
    talk.post("services", service("b", externalTrafficPolicy="Local"))
    talk.post("services", service("b", type="LoadBalancer", loadBalancerClass="not a name"))
    talk.post("services", service("b", allocateLoadBalancerNodePorts=True))


def ports(talk: Talk) -> None:
    talk.post("services", service("a", ports=[]))
    talk.post("services", service("a", ports=[{"port": 0}]))
    talk.post("services", service("a", ports=[{"port": 80}, {"port": 81}]))
    talk.post("services", service("a", ports=[{"name": "a", "port": 80}, {"name": "a", "port": 81}]))
    talk.post("services", service("a", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 80}]))
    talk.post("services", service("a", ports=[{"name": "Not A Name", "port": 80}]))
    talk.post("services", service("a", ports=[{"port": 80, "protocol": "ICMP"}]))
    talk.post("services", service("a", ports=[{"port": 80, "targetPort": "Not A Name"}]))
    talk.post("services", service("a", type="Sideways"))
    talk.post("services", service("a", sessionAffinity="ClientIP"), show=_SPEC)
    two = [{"name": "a", "port": 80, "targetPort": "web"}, {"name": "b", "port": 80, "protocol": "UDP"}]
    talk.post("services", service("b", ports=two), show=_SPEC)
