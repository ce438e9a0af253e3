"""What is behind a Service, and where it answers. Pure."""

from __future__ import annotations

from tailrace.api import kube
from tailrace.api.conditions import Reason
from tailrace.fleet.claims import Claim


def judge_backend(service: kube.Service, slices: tuple[kube.EndpointSlice, ...]) -> Claim:
    """Is there something behind the Service that can answer?"""
    if service.spec.type == "ExternalName":
        return Claim(
            status=True,
            reason=Reason.EXTERNAL_NAME,
            message=f"{service.spec.externalName} is outside the cluster and is not checked",
        )
    endpoints = [e for s in slices for e in s.endpoints or ()]
    ready = sum(1 for e in endpoints if e.conditions.ready is not False)
    if ready:
        return Claim(status=True, reason=Reason.ENDPOINTS_READY, message="endpoints are ready")
    if endpoints:
        return Claim(
            status=False,
            reason=Reason.NO_READY_ENDPOINTS,
            message="no endpoint of the Service is ready: look at its pods and their readiness probes",
        )
    selector = ",".join(f"{k}={v}" for k, v in sorted(service.spec.selector.items()))
    hint = (
        f"no pod matches its selector {selector}" if selector else "it has no selector and no EndpointSlice"
    )
    return Claim(status=False, reason=Reason.NO_ENDPOINTS, message=f"nothing is behind the Service: {hint}")


def build_urls(service: kube.Service, host: str) -> tuple[str, ...]:
    """A working address for each port: `http(s)://host:port` where name or protocol say so, else `tcp://`, `udp://`."""
    return tuple(f"{guess_scheme(port)}://{host}:{port.port}" for port in service.spec.ports) or (host,)


def guess_scheme(port: kube.ServicePort) -> str:
    """The scheme that most likely works. A well-known port number decides only where name and appProtocol are silent."""
    if port.protocol != "TCP":
        return port.protocol.lower()
    said = (port.appProtocol or port.name).lower()
    if said.startswith("https") or (not said and port.port in {443, 8443}):
        return "https"
    web = said.startswith(("http", "web", "kubernetes.io/h2c", "kubernetes.io/ws"))
    return "http" if web or (not said and port.port in {80, 3000, 8000, 8080}) else "tcp"
