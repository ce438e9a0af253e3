"""What every control plane must do, told through the port alone. `test_controlplane` runs it on each of them.

A new one (a server, an emulation) is a `Harness`: the plane, and the devices' side, which no port has.
"""

from __future__ import annotations

import abc
import re
from datetime import UTC, datetime, timedelta

import pytest

from tailrace import errors
from tailrace.tailnet.port import (
    Capability,
    ControlPlane,
    Device,
    DeviceId,
    KeyId,
    KeyRequest,
    MintedKey,
    Nameserver,
)

TAG = "tag:k8s"
NOBODY = DeviceId("999999")


NAMESERVERS = (
    Nameserver(address="10.1.0.53"),
    Nameserver(address="10.1.0.54", domain="corp.example"),
)


class Harness(abc.ABC):
    plane: ControlPlane
    checks_tags: bool = True  # minting refuses tags that the policy does not know
    endpoints: tuple[str, ...] = ()  # that the control plane tells of a device

    def set_nameservers(self) -> bool:
        """Somebody makes them `NAMESERVERS`. False where no control plane tells them."""
        return False

    @abc.abstractmethod
    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        """A device logs in with the key; it advertises 10.1.0.0/24 and stands at 192.168.1.5."""

    async def device(self, hostname: str) -> Device:
        """A fresh device of that hostname, tagged `TAG`."""
        return await self.plane.get_device(await self.join(await self.plane.mint_key(request()), hostname))

    async def clear(self) -> None:
        for device in await self.plane.list_devices():
            await self.plane.delete_device(device.id)


def request(*tags: str) -> KeyRequest:
    description = "tailrace prod media/jellyfin, with a name that is too long for a description"
    return KeyRequest(tags=tags or (TAG,), ttl=timedelta(hours=1), description=description)


async def check_a_key_is_minted_listed_and_revoked(harness: Harness) -> None:
    """Its secret shows once; it lives as long as asked; revoked twice is no error."""
    key = await harness.plane.mint_key(request())
    assert len(key.secret) > 20
    assert key.secret not in repr(key)
    assert abs(key.expires - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=2)
    listed = {info.id: info for info in await harness.plane.list_keys()}[key.id]
    assert (listed.usable, listed.tags) == (True, (TAG,))
    assert len(listed.description) <= 50
    await harness.plane.revoke_key(key.id)
    await harness.plane.revoke_key(key.id)
    assert not any(info.usable for info in await harness.plane.list_keys() if info.id == key.id)


async def check_an_unknown_key_is_revoked_already(harness: Harness) -> None:
    await harness.plane.revoke_key(KeyId("987654"))


async def check_keys_that_cannot_be_are_refused(harness: Harness) -> None:
    """Neither tag nor owner, and something that is no tag."""
    with pytest.raises((errors.Terminal, errors.Denied)):
        await harness.plane.mint_key(KeyRequest(tags=(), ttl=timedelta(hours=1), description=""))
    with pytest.raises((errors.Terminal, errors.Denied)):
        await harness.plane.mint_key(request("nope"))


async def check_unknown_tags_are_refused_where_that_is_said(harness: Harness) -> None:
    if harness.checks_tags:
        with pytest.raises((errors.Terminal, errors.Denied)):
            await harness.plane.mint_key(request("tag:nobody-owns-this"))


async def check_a_device_is_listed_as_it_joined(harness: Harness) -> None:
    """Same in list and get; addresses in order; a label for a name."""
    device = await harness.device("app")
    assert device in await harness.plane.list_devices()
    assert (device.name, device.hostname, device.tags) == ("app", "app", (TAG,))
    assert device.online == (device.last_seen is None)
    assert device.user is None
    families = [":" in address for address in device.addresses]
    assert families == sorted(families)
    assert device.fqdn is None or device.fqdn.startswith("app.")


async def check_a_taken_name_gets_a_suffix_and_is_free_after_a_deletion(harness: Harness) -> None:
    """`app-1` (Headscale before 0.29: a word by chance) until `app` is deleted; then it may be renamed."""
    first, second = await harness.device("app"), await harness.device("app")
    assert re.fullmatch(r"app-(1|[a-z0-9]{8})", second.name)
    with pytest.raises(errors.Conflict):
        await harness.plane.rename_device(second.id, "app")
    await harness.plane.delete_device(first.id)
    await harness.plane.rename_device(second.id, "app")
    assert (await harness.plane.get_device(second.id)).name == "app"


async def check_what_is_gone_is_not_found(harness: Harness) -> None:
    """Deleted and never been: every call about it says so."""
    device = await harness.device("app")
    await harness.plane.delete_device(device.id)
    assert device.id not in [other.id for other in await harness.plane.list_devices()]
    for gone in (device.id, NOBODY):
        with pytest.raises(errors.NotFound):
            await harness.plane.delete_device(gone)
        with pytest.raises(errors.NotFound):
            await harness.plane.get_device(gone)
        with pytest.raises(errors.NotFound):
            await harness.plane.rename_device(gone, "other")
        with pytest.raises(errors.NotFound):
            await harness.plane.get_routes(gone)
        with pytest.raises(errors.NotFound):
            await harness.plane.approve_routes(gone, ("10.1.0.0/24",))
        with pytest.raises(errors.NotFound):
            await harness.plane.set_tags(gone, (TAG,))


async def check_a_device_keeps_a_tag_and_a_label(harness: Harness) -> None:
    """No tags, and a name that is no label, are refused for good; nothing changes."""
    device = await harness.device("app")
    with pytest.raises(errors.Terminal):
        await harness.plane.set_tags(device.id, ())
    with pytest.raises(errors.Terminal):
        await harness.plane.rename_device(device.id, "Bad_Name")
    after = await harness.plane.get_device(device.id)
    assert (after.name, after.tags) == (device.name, device.tags)


async def check_routes_are_replaced_as_a_whole(harness: Harness) -> None:
    """Approved, then others, then none."""
    if not harness.plane.has(Capability.ROUTES):
        return
    device = await harness.device("app")
    for routes in (("10.1.0.0/24",), ("10.2.0.0/24", "10.3.0.0/24"), ()):
        assert (await harness.plane.approve_routes(device.id, routes)).enabled == routes
        assert (await harness.plane.get_routes(device.id)).enabled == routes


async def check_nameservers_are_told_where_there_is_an_api_for_them(harness: Harness) -> None:
    """None is not the same as none."""
    told = harness.set_nameservers()
    assert await harness.plane.list_nameservers() == (NAMESERVERS if told else None)


async def check_devices_stand_where_they_say_or_nowhere(harness: Harness) -> None:
    """A control plane that does not tell endpoints says nothing of them."""
    assert (await harness.device("app")).endpoints == harness.endpoints


async def check_the_probe_is_fine(harness: Harness) -> None:
    """With a credential that may do the main job."""
    probe = await harness.plane.probe()
    assert probe.ok, probe.problem
    assert probe.problem is None
    assert {Capability.RENAME, Capability.SET_TAGS} <= probe.capabilities


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_")]
