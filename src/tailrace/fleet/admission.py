"""Does the namespace of the proxies admit a privileged pod? Asked, not guessed.

Pod security only warns about a StatefulSet, and other policy engines have their own rules; a dry-run create of the
pod itself gets the true answer. It is asked once, and again when the namespace's labels change or a pod is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tailrace import errors
from tailrace.fleet.world import Admission
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.plan import diff
from tailrace.proxy import names, spec, statefulset

PROBE = "tailrace-admission-probe"
ASK_AGAIN = 30.0


@dataclass(slots=True)
class Prober:
    """Remembers the answer for the labels that it was given for."""

    cluster: Kube
    namespace: str
    image: spec.Image
    clock: Callable[[], float] = time.monotonic
    _asked: str = ""
    _asked_at: float = 0.0
    _answer: Admission | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def forget(self) -> None:
        """A pod may have been refused after all: ask again, but not for each of many Services that wait."""
        if self.clock() - self._asked_at > ASK_AGAIN:
            self._answer = None

    async def ask(self, labels: Mapping[str, str]) -> Admission:
        """The answer for a namespace with these labels.

        Raises:
            TailraceError: it could not be asked.
        """
        digest = diff.compute_digest(dict(labels))
        async with self._lock:
            if self._answer is None or digest != self._asked:
                self._answer, self._asked, self._asked_at = await self._create(), digest, self.clock()
            return self._answer

    async def _create(self) -> Admission:
        pod = build_probe(self.namespace, self.image)
        try:
            await self.cluster.create(resources.PODS, pod, dry_run=True)
        except errors.Conflict:
            return Admission(privileged=True)
        except errors.Denied as error:
            if "cannot create resource" in str(error) or "Unauthorized" in str(error):
                raise  # we may not ask; that is another thing than being refused
            return Admission(privileged=False, refusal=str(error))
        except errors.Terminal as error:  # policy engines answer 400 or 422 as well
            return Admission(privileged=False, refusal=str(error))
        return Admission(privileged=True)


def build_probe(namespace: str, image: spec.Image) -> dict[str, object]:
    """The kernel pod as a proxy would have it, under a name of its own and the default account, which every
    namespace has; no token is mounted."""
    proxy = spec.ProxySpec(
        name=PROBE,
        namespace=namespace,
        secret_name=f"{PROBE}-0",
        labels=names.build_labels("svc", namespace, PROBE),
        app=PROBE,
        hostname=PROBE,
        mode=spec.Mode.KERNEL,
        target=spec.Address(ip="192.0.2.1"),
        image=image,
    )
    pod = statefulset.build_pod(proxy)
    account = {"serviceAccountName": "default", "automountServiceAccountToken": False}
    return {**pod, "spec": {**pod["spec"], **account}}
