"""Every control plane that the laws hold on, each with the credentials that it takes, and what may be left of keys there."""

from __future__ import annotations

import pytest

from tailrace.sandbox.controlplane.records import Dialect
from tests.support.faults import UNDONE, UNHEARD, scripts
from tests.support.tailnets import CLIENT, EmulatedTailnet
from tests.support.world import INSTALL

CONTROL_PLANES: list[tuple[Dialect, tuple[str, ...]]] = [
    ("tailscale", CLIENT),
    ("headscale-0.29", ("api_key",)),
    ("headscale-0.30", CLIENT),
    ("headscale-0.30", ("api_key",)),
]

every_control_plane = pytest.mark.parametrize(
    ("dialect", "names"), CONTROL_PLANES, ids=["tailscale", "0.29", "0.30-client", "0.30-key"]
)
spoilt = scripts(*UNDONE, *UNHEARD, most=12)


def check_keys(tailnet: EmulatedTailnet) -> None:
    """No key is left that admits a device, save one for each call about keys whose answer nobody heard: its id is not
    known to us, so that it ends by itself, used by nobody."""
    lost = [
        line
        for line, fault in tailnet.faults.struck
        if "key" in line and not line.startswith("GET") and (fault in UNHEARD or is_revocation(line))
    ]
    left = tailnet.usable_keys
    assert len(left) <= len(lost)
    soon = tailnet.server.tailnet.now() + INSTALL.key_ttl
    assert all(not key.reusable and key.expires is not None and key.expires <= soon for key in left)


def is_revocation(line: str) -> bool:
    return line.startswith("DELETE") or line.endswith("/expire")
