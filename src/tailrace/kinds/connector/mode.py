"""Which mode the proxies get, and why; or why they get none. Both modes route subnets and exit traffic. Pure."""

from __future__ import annotations

from tailrace.api import names
from tailrace.fleet import refusal
from tailrace.fleet.world import Choice
from tailrace.kinds.connector.inputs import Inputs
from tailrace.kinds.connector.request import Request
from tailrace.proxy import spec
from tailrace.settings import Mode


def choose_mode(i: Inputs, wish: Request) -> Choice | str:
    """The mode, or a sentence that quotes the refusal and says what to do."""
    match wish.mode:
        case Mode.USERSPACE:
            return Choice(mode=spec.Mode.USERSPACE, why="it was asked for")
        case Mode.KERNEL if not i.admission.privileged:
            return (
                f"kernel mode needs a privileged pod, and the cluster refuses one: {i.admission.refusal}. Either "
                f"{refusal.tell_how_to_admit(i.install.namespace)}, or set {names.MODE} to userspace"
            )
        case Mode.KERNEL:
            return Choice(mode=spec.Mode.KERNEL, why="it was asked for")
        case Mode.AUTO if i.admission.privileged:
            return Choice(mode=spec.Mode.KERNEL, why="the cluster admits privileged pods")
        case Mode.AUTO:
            why = "the cluster admits no privileged pod; it routes in userspace too, with less throughput"
            return Choice(mode=spec.Mode.USERSPACE, why=why)
