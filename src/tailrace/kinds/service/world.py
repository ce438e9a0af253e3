"""One world of one exposed Service, with what was read out of it: what every question of a decision is asked of. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.api import kube, names
from tailrace.kinds.service import request
from tailrace.kinds.service.inputs import Inputs
from tailrace.kinds.service.mode import Choice
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.tailnet import port


def owner_of(i: Inputs) -> dict[str, str]:
    return proxy_names.build_labels("svc", i.namespace, i.name)


def join(tags: tuple[str, ...]) -> str:
    return ",".join(tags)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The inputs with what was read out of them: what every question below is asked of."""

    inputs: Inputs
    service: kube.Service
    wish: request.Request
    choice: Choice

    @property
    def state(self) -> secret.State | None:
        return self.inputs.children.state

    @property
    def joined(self) -> bool:
        """The proxy has, or had, a device."""
        return self.state is not None and bool(self.state.device_id)

    @property
    def device(self) -> port.Device | None:
        return self.inputs.tailnet.device

    @property
    def ref(self) -> ops.Ref:
        meta = self.service.metadata
        return ops.Ref(kind="Service", namespace=meta.namespace, name=meta.name)

    @property
    def must_recreate(self) -> bool:
        """`tailrace.dev/recreate` has a value that was not obeyed yet."""
        return (
            self.state is not None
            and self.joined
            and self.device is not None
            and bool(self.wish.recreate)
            and self.wish.recreate != self.state.note(names.RECREATED)
        )

    @property
    def lost_secret(self) -> bool:
        """The Secret was deleted under a running proxy, which does not notice: it needs a new one and a restart."""
        return self.state is None and self.inputs.children.statefulset is not None

    @property
    def outdated_key(self) -> str:
        """Id of a waiting key that was minted for other tags, or empty."""
        state = self.state
        if (
            state is None
            or self.joined
            or not state.has_key
            or state.note(names.KEY_TAGS) == join(self.wish.tags)
        ):
            return ""
        return state.note(names.KEY_ID)

    @property
    def needs_key(self) -> bool:
        state = self.state
        if state is None or state.wants_key or self.must_recreate or self.outdated_key:
            return True
        return not state.has_key and (not self.joined or self.inputs.tailnet.gone)
