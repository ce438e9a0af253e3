"""The cluster's names: a Service's address, the addresses of a headless one's pods, or those of the Service that an
ExternalName leads to. In the place of CoreDNS.

    python -m tests.rig.machine.names URL TOKEN FOLDER

It writes one file of hosts, which dnsmasq reads again whenever it changes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

DOMAIN = "svc.cluster.local"
PERIOD = 0.3

Doc = dict[str, Any]


def list_hosts(services: list[Doc], slices: list[Doc]) -> Iterator[str]:
    """Lines of a hosts file."""
    known = {build_name(service["metadata"]): service for service in services}
    for name, service in known.items():
        end = known.get(service["spec"].get("externalName", ""), service)
        own = end["spec"].get("clusterIPs", [])
        for ip in own if own != ["None"] else list_ready(end["metadata"], slices):
            yield f"{ip} {name}"


def build_name(metadata: Doc) -> str:
    return f"{metadata['name']}.{metadata['namespace']}.{DOMAIN}"


def list_ready(service: Doc, slices: list[Doc]) -> Iterator[str]:
    for piece in slices:
        metadata = piece["metadata"]
        owner = metadata.get("labels", {}).get("kubernetes.io/service-name")
        if (metadata["namespace"], owner) == (service["namespace"], service["name"]):
            for endpoint in piece["endpoints"] or ():
                if endpoint["conditions"].get("ready"):
                    yield from endpoint["addresses"]


def main(url: str, token: str, folder: str) -> None:
    target, fresh = Path(folder) / "hosts", Path(folder).with_suffix(".new")
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, verify=False) as api:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                services = api.get("/api/v1/services").raise_for_status().json()["items"]
                slices = (
                    api.get("/apis/discovery.k8s.io/v1/endpointslices").raise_for_status().json()["items"]
                )
                text = "".join(f"{line}\n" for line in sorted(set(list_hosts(services, slices))))
                if not target.exists() or target.read_text() != text:
                    fresh.write_text(text)
                    fresh.replace(target)
            time.sleep(PERIOD)


if __name__ == "__main__":
    main(*sys.argv[1:])
