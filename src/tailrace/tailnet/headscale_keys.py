"""Preauth keys by Headscale's v1 API: nobody's from 0.28 on, a user's before.

0.27 refuses a key without a user, lists the keys of one user alone, and expires a key by its text, which it lists. So
there our keys belong to the user `tailrace`, who is made when first needed. The devices get their tags from the key
all the same. Which way a server wants it shows in its refusals, so an upgraded server is understood too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from tailrace import errors
from tailrace.api.conditions import Reason
from tailrace.tailnet import words
from tailrace.tailnet.port import KeyId, KeyInfo, KeyRequest, MintedKey
from tailrace.wire import call as calls
from tailrace.wire import clock as clocks
from tailrace.wire import http

KEYS = "/api/v1/preauthkey"
KEY_EXPIRE = "/api/v1/preauthkey/expire"
USERS = "/api/v1/user"

OWNER = "tailrace"
_OWNER_WANTED = ("user not found", "AuthKey not found")  # to a key of user 0, and to an expiry by id


class WireKey(msgspec.Struct):
    id: str
    key: str = ""  # whole when minted; masked in a list from 0.28 on
    reusable: bool = False
    used: bool = False
    expiration: str | None = None
    createdAt: str | None = None
    aclTags: list[str] | None = None

    def __repr__(self) -> str:
        return f"WireKey(id={self.id!r})"


class WireKeyReply(msgspec.Struct):
    preAuthKey: WireKey


class WireKeys(msgspec.Struct):
    preAuthKeys: list[WireKey] | None = None


class WireUser(msgspec.Struct):
    id: str


class WireUserReply(msgspec.Struct):
    user: WireUser


class WireUsers(msgspec.Struct):
    users: list[WireUser] | None = None


class Keys:
    def __init__(self, client: http.Http, clock: clocks.Clock) -> None:
        self._client = client
        self._clock = clock
        self._owner: str | None = None  # the id of a user, once a server wanted one

    async def mint(self, request: KeyRequest) -> MintedKey:
        """Without an expiration the key would be dead on arrival, so one is always sent. There is no place for a
        description. Not repeated when the reply is lost: nobody would know the key."""
        if not request.tags:
            raise errors.Terminal(
                "A key needs a tag: its devices have no other owner.", reason=Reason.KEY_REFUSED
            )
        end = self._clock.now() + request.ttl
        body = {
            "reusable": False,
            "ephemeral": False,
            "expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "aclTags": list(request.tags),
        }

        async def ask(owner: str | None) -> WireKeyReply:
            owned = body | ({"user": owner} if owner else {})
            call = calls.Call(
                method="POST", route=KEYS, json=owned, repeatable=False, refusal=Reason.KEY_REFUSED
            )
            return await self._client.fetch(call, WireKeyReply)

        key = (await self._as_owner(ask)).preAuthKey
        return MintedKey(id=KeyId(key.id), secret=key.key, expires=words.parse_time(key.expiration) or end)

    async def revoke(self, key: KeyId) -> None:
        """An unknown key is 200 in 0.28 and 0.29, and 404 from 0.30 on."""

        async def ask(owner: str | None) -> None:
            body: dict[str, str] = {"id": key}
            if owner:
                found = [known.key for known in await self._list(owner) if known.id == key]
                if not found:
                    return
                body |= {"user": owner, "key": found[0]}
            call = calls.Call(method="POST", route=KEY_EXPIRE, json=body, repeatable=True)
            await self._client.send(call)

        try:
            await self._as_owner(ask)
        except errors.NotFound:
            return

    async def show(self) -> tuple[KeyInfo, ...]:
        return tuple(self._to_key(key) for key in await self._as_owner(self._list))

    async def _list(self, owner: str | None) -> list[WireKey]:
        call = calls.Call(method="GET", route=KEYS, query={"user": owner} if owner else {})
        return (await self._client.fetch(call, WireKeys)).preAuthKeys or []

    def _to_key(self, key: WireKey) -> KeyInfo:
        expires = words.parse_time(key.expiration)  # None: the zero time, which is long over
        return KeyInfo(
            id=KeyId(key.id),
            description="",
            tags=tuple(sorted(key.aclTags or ())),
            created=words.parse_time(key.createdAt),
            expires=expires,
            usable=expires is not None and expires > self._clock.now() and (key.reusable or not key.used),
        )

    async def _as_owner[T](self, ask: Callable[[str | None], Awaitable[T]]) -> T:
        """As nobody, or as our user where that was wanted before; when a user is missing now, with one."""
        try:
            return await ask(self._owner)
        except errors.TailraceError as error:
            if not any(said in str(error) for said in _OWNER_WANTED):
                raise
        self._owner = await self._find_owner()
        return await ask(self._owner)

    async def _find_owner(self) -> str:
        search = calls.Call(method="GET", route=USERS, query={"name": OWNER})
        for user in (await self._client.fetch(search, WireUsers)).users or ():
            return user.id
        call = calls.Call(
            method="POST", route=USERS, json={"name": OWNER}, repeatable=False, refusal=Reason.KEY_REFUSED
        )
        return (await self._client.fetch(call, WireUserReply)).user.id
