"""The operator's settings, told in the cluster, so that `tailrace explain` need not guess them; no secret is among them."""

from __future__ import annotations

import asyncio

from tailrace import settings as configuration
from tailrace.api import names
from tailrace.errors import TailraceError
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.observe import logs
from tailrace.settings import Settings

log = logs.get_logger("runtime.published")

CA = "ca.crt"
_TRY_AGAIN = 30.0


async def publish(cluster: Kube, settings: Settings, ca_pem: str) -> None:
    """Write them into the ConfigMap `names.SETTINGS` of their namespace, if they are not there already. Failing to is no
    harm and tried again."""
    record = {
        "metadata": {"name": names.SETTINGS, "namespace": settings.namespace},
        "data": configuration.dump(settings) | ({CA: ca_pem} if ca_pem else {}),
    }
    while True:
        try:
            found = await cluster.list(
                resources.CONFIG_MAPS, settings.namespace, fields=f"metadata.name={names.SETTINGS}"
            )
            if not any(live.data == record["data"] for live in found):
                await cluster.apply(resources.CONFIG_MAPS, record, manager=names.FIELD_MANAGER)
        except TailraceError as error:
            log.warning("the settings could not be written down", error=str(error))
            await asyncio.sleep(_TRY_AGAIN)
        else:
            return
