"""Which mode a proxy gets, and why; or why it gets none. Pure."""

from __future__ import annotations

from tailrace.api import kube, names
from tailrace.fleet import refusal
from tailrace.fleet.world import Choice
from tailrace.kinds.service import request
from tailrace.kinds.service.inputs import Inputs
from tailrace.proxy import spec
from tailrace.settings import Mode


def choose_mode(i: Inputs, service: kube.Service, wish: request.Request) -> Choice | str:
    """The proxy's mode, or a sentence that quotes the refusal and says what to do."""
    admitted, refused = i.admission.privileged, i.admission.refusal
    tcp_only = bool(service.spec.ports) and all(p.protocol == "TCP" for p in service.spec.ports)
    mend = refusal.tell_how_to_admit(i.install.namespace)
    if wish.mode is Mode.USERSPACE:
        return Choice(mode=spec.Mode.USERSPACE, why="it was asked for")
    if wish.mode is Mode.KERNEL:
        if admitted:
            return Choice(mode=spec.Mode.KERNEL, why="it was asked for")
        return f"kernel mode needs a privileged pod, and the cluster refuses one: {refused}. Either {mend}, or set {names.MODE} to userspace"
    if wish.backend is request.Backend.HEADLESS:
        return Choice(mode=spec.Mode.USERSPACE, why="the Service is headless")
    if wish.proxy_protocol:
        return Choice(mode=spec.Mode.USERSPACE, why=f"{names.PROXY_PROTOCOL} needs it")
    if admitted:
        return Choice(mode=spec.Mode.KERNEL, why="the cluster admits privileged pods")
    if tcp_only:
        return Choice(
            mode=spec.Mode.USERSPACE, why="the cluster admits no privileged pod and all ports are TCP"
        )
    return f"a port that is not TCP needs kernel mode, and the cluster refuses a privileged pod: {refused}. To serve it, {mend}; or expose the TCP ports by a Service of their own"
