"""One tailnet: its users, keys, nodes, credentials and policy, with the rules of the dialect that it speaks.

Synchronous and without IO; clock and ids are given. The node side is `Tailnet.nodes` (`nodes.NodePort`), the rest is
for the HTTP dialects, for faults, and for a test's own hand ("somebody deleted the device in the admin page").
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
import string
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tailrace.sandbox.controlplane import naming, policy
from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.controlplane.records import (
    Access,
    ApiKey,
    AuthKey,
    Client,
    Dialect,
    Federated,
    Node,
    Pretended,
    Refused,
    User,
    Why,
)

TOKEN_LIFE = timedelta(hours=1)

_LETTERS = string.ascii_letters + string.digits
_EVERYWHERE = ("0.0.0.0/0", "::/0")


def _order(route: str) -> tuple[int, int, int, int]:
    """As Go's `netip.Prefix.Compare`: family, network, length, and the bits behind it, which Headscale keeps."""
    prefix = ipaddress.ip_interface(route)
    network = prefix.network
    return prefix.version, int(network.network_address), network.prefixlen, int(prefix.ip)


class Ids:
    """Random texts. With a seed the same ones each time; without, from the operating system."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.SystemRandom() if seed is None else random.Random(seed)

    def text(self, length: int) -> str:
        return "".join(self._random.choices(_LETTERS, k=length))

    def digits(self, length: int) -> str:
        return "".join(self._random.choices(string.digits, k=length))

    def hex(self, length: int) -> str:
        return "".join(self._random.choices(string.hexdigits[:16], k=length))


class Tailnet:
    """All that a control plane knows. `policy_text=None`: none was ever stored."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        ids: Ids | None = None,
        base_domain: str | None = None,
        policy_text: str | None = policy.DEFAULT,
        policy_in_file: bool = False,
    ) -> None:
        self.dialect = dialect
        self.now = now
        self.ids = ids or Ids()
        self.headscale = dialect != "tailscale"
        self.base_domain = base_domain or (
            "tailnet.example" if self.headscale else f"tail{self.ids.hex(4)}.ts.net"
        )
        self.ephemeral_timeout = timedelta(seconds=120 if self.headscale else 1800)
        self.users: dict[int, User] = {}
        self.keys: dict[int, AuthKey] = {}
        self.clients: dict[str, Client] = {}
        self.api_keys: dict[int, ApiKey] = {}
        self.services: dict[str, dict[str, object]] = {}
        self.nameservers: list[str] = []
        self.split_dns: dict[str, list[str]] = {}  # by domain
        self.refused_tags: set[str] = set()
        self.policy_text: str | None = None
        self.policy_updated = now()
        self.policy = policy.Policy()
        self.policy_in_file = False
        self.pretended: dict[str, Pretended] = {}
        self.nodes = NodePort(self)
        self._tokens: dict[str, Access] = {}
        self._numbers: dict[str, int] = {}
        if policy_text is not None:
            self.set_policy(policy_text)
        self.policy_in_file = policy_in_file

    def number(self, kind: str) -> int:
        """The next number of a kind of row; a deleted row's is never given again."""
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        return self._numbers[kind]

    # Policy

    def set_policy(self, text: str) -> None:
        if self.policy_in_file:
            raise Refused(Why.POLICY_READ_ONLY)
        try:
            self.policy = policy.parse(text, headscale=self.headscale)
        except ValueError as wrong:
            raise Refused(Why.POLICY_BAD, str(wrong)) from wrong
        self.policy_text, self.policy_updated = text, self.now()
        if self.headscale:
            self.nodes.review_routes()

    @property
    def policy_etag(self) -> str:
        return hashlib.sha256((self.policy_text or policy.ALLOW_ALL).encode()).hexdigest()

    # Users

    def add_user(self, name: str, *, display_name: str = "", email: str = "", picture: str = "") -> User:
        number = self.number("user")
        if any(user.name == name for user in self.users.values()):
            raise Refused(Why.USER_EXISTS, name)
        user = User(
            number=number,
            name=name or email or str(number),
            created=self.now(),
            display_name=display_name,
            email=email,
            picture=picture,
        )
        self.users[number] = user
        return user

    def user(self, number: int) -> User:
        if number not in self.users:
            raise Refused(Why.UNKNOWN_USER)
        return self.users[number]

    def user_named(self, name: str) -> User:
        for user in self.users.values():
            if user.name == name:
                return user
        raise Refused(Why.UNKNOWN_USER)

    def rename_user(self, number: int, name: str) -> User:
        self.user(number)
        if any(user.name == name and user.number != number for user in self.users.values()):
            raise Refused(Why.USER_EXISTS, name)
        self.users[number] = replace(self.user(number), name=name)
        return self.users[number]

    def delete_user(self, number: int) -> None:
        self.user(number)
        if any(node.user and node.user.number == number for node in self.nodes.all()):
            raise Refused(Why.USER_HAS_NODES)
        del self.users[number]
        self.keys = {n: key for n, key in self.keys.items() if not (key.user and key.user.number == number)}

    # Auth keys

    def add_key(
        self,
        *,
        tags: Iterable[str] = (),
        expires: datetime | None,
        reusable: bool = False,
        ephemeral: bool = False,
        preauthorized: bool = True,
        user: User | None = None,
        description: str = "",
    ) -> AuthKey:
        """Only shapes are checked here: whether the caller may use these tags is the dialect's question."""
        wanted = tuple(tags)
        for tag in wanted:
            if fault := naming.tag_fault(tag):
                raise Refused(Why.TAG_BAD, fault)
            if tag in self.refused_tags:
                raise Refused(Why.TAG_UNKNOWN, tag)
        if self.headscale:
            wanted = tuple(sorted(set(wanted)))
        if not wanted and user is None and self.headscale:
            raise Refused(Why.OWNERLESS_KEY)
        number = self.number("key")
        if self.headscale:
            id_, prefix = str(number), self.ids.hex(12)
            secret = f"hskey-auth-{prefix}-{self.ids.hex(64)}"
        else:
            id_ = prefix = f"k{self.ids.text(11)}CNTRL"
            secret = f"tskey-auth-{id_}-{self.ids.text(32)}"
        key = AuthKey(
            number=number,
            id=id_,
            prefix=prefix,
            secret=secret,
            tags=wanted,
            reusable=reusable,
            ephemeral=ephemeral,
            preauthorized=preauthorized,
            created=self.now(),
            expires=expires,
            user=user,
            description=description,
        )
        self.keys[number] = key
        return key

    def key_by_id(self, id_: str) -> AuthKey:
        for key in self.keys.values():
            if key.id == id_:
                return key
        raise Refused(Why.UNKNOWN_KEY, id_)

    def key_by_secret(self, secret: str) -> AuthKey | None:
        return next((key for key in self.keys.values() if key.secret == secret), None)

    def expire_key(self, id_: str) -> None:
        key = self.key_by_id(id_)
        self.keys[key.number] = replace(key, expires=self.now())

    def revoke_key(self, id_: str) -> None:
        """Soft: the row stays, so nodes made with an ephemeral key stay ephemeral."""
        key = self.key_by_id(id_)
        self.keys[key.number] = replace(key, revoked=key.revoked or self.now())

    def delete_key(self, id_: str) -> None:
        """The row goes, and with it the knowledge that its nodes were ephemeral."""
        del self.keys[self.key_by_id(id_).number]

    def use_key(self, key: AuthKey) -> None:
        self.keys[key.number] = replace(key, used=key.used or not key.reusable)

    # Credentials

    def add_client(
        self, *, scopes: Iterable[str], tags: Iterable[str] = (), federated: Federated | None = None
    ) -> Client:
        id_ = self.ids.hex(12) if self.headscale else f"k{self.ids.text(11)}CNTRL"
        head = "hskey" if self.headscale else "tskey"
        client = Client(
            id=id_,
            secret=f"{head}-client-{id_}-{self.ids.text(40)}",
            scopes=tuple(scopes),
            tags=tuple(tags),
            created=self.now(),
            federated=federated,
        )
        self.clients[id_] = client
        return client

    def revoke_client(self, id_: str) -> None:
        """The client and every token that it got."""
        self.clients.pop(id_, None)
        self._tokens = {secret: access for secret, access in self._tokens.items() if access.client != id_}

    def add_token(
        self, client: Client, *, scopes: tuple[str, ...] | None = None, tags: tuple[str, ...] | None = None
    ) -> str:
        head = "hskey-oauthtok" if self.headscale else "tskey-api"
        secret = f"{head}-{self.ids.text(12)}-{self.ids.text(40)}"
        self._tokens[secret] = Access(
            scopes=client.scopes if scopes is None else scopes,
            tags=client.tags if tags is None else tags,
            client=client.id,
            expires=self.now() + TOKEN_LIFE,
        )
        return secret

    def expire_tokens(self) -> None:
        """Every access token ends now; the clients can get new ones."""
        self._tokens.clear()

    def add_api_key(self, *, expires: datetime | None) -> ApiKey:
        number, prefix = self.number("api-key"), self.ids.text(12)
        head = "hskey" if self.headscale else "tskey"
        key = ApiKey(
            number=number,
            prefix=prefix,
            secret=f"{head}-api-{prefix}-{self.ids.text(64)}",
            created=self.now(),
            expires=expires,
        )
        self.api_keys[number] = key
        return key

    def api_key(self, *, number: int | None = None, prefix: str | None = None) -> ApiKey:
        for key in self.api_keys.values():
            if key.number == number or key.prefix == prefix:
                return key
        raise Refused(Why.UNKNOWN_API_KEY)

    def expire_api_key(self, key: ApiKey) -> None:
        self.api_keys[key.number] = replace(key, expires=self.now())

    def access(self, credential: str) -> Access | None:
        """What an API key or access token may do; None when it is unknown, expired or revoked."""
        now = self.now()
        token = self._tokens.get(credential)
        if token:
            return token if token.expires is None or token.expires > now else None
        for key in self.api_keys.values():
            if key.secret == credential and key.expires and key.expires > now:
                return Access(scopes=("all",), tags=(), client=None)
        return None

    # Nodes without a client

    def pretend_node(self, request: str, hostname: str) -> Pretended:
        """A node of this hostname waits under the name `request` until somebody registers it."""
        keys = (f"{kind}:{self.ids.hex(64)}" for kind in ("mkey", "nodekey"))
        self.pretended[request] = Pretended(hostname=hostname, machine_key=next(keys), node_key=next(keys))
        return self.pretended[request]

    def register_node(self, request: str, user: User) -> Node:
        """It belongs to the user now. Nobody ever connects for it."""
        if request not in self.pretended:
            raise Refused(Why.UNKNOWN_REQUEST)
        return self.nodes.register(self.pretended.pop(request), user)

    # Devices, as an administrator's hand moves them

    def node(self, id_: str) -> Node:
        """By stable or legacy id. Raises Refused."""
        for node in self.nodes.all():
            if id_ in (node.id, node.legacy_id):
                return node
        raise Refused(Why.UNKNOWN_NODE, id_)

    def delete_node(self, id_: str) -> None:
        """The control plane forgets it. A connected client does not notice."""
        self.nodes.remove(self.node(id_))

    def rename_node(self, id_: str, name: str) -> Node:
        if fault := naming.label_fault(name):
            raise Refused(Why.NAME_BAD, fault)
        node = self.node(id_)
        if any(other.name == name and other.number != node.number for other in self.nodes.all()):
            raise Refused(Why.NAME_TAKEN, name)
        return self.nodes.put(replace(node, name=name))

    def move_node(self, id_: str) -> Node:
        """Other addresses than before; on Tailscale an administrator may choose them."""
        return self.nodes.put(replace(self.node(id_), addresses=self.nodes.reserve()))

    def tag_node(self, id_: str, tags: Iterable[str]) -> Node:
        """Each tag must be one that the policy knows. A tagged node has no user; on Tailscale it does not expire."""
        wanted = tuple(tags)
        for tag in wanted:
            if fault := naming.tag_fault(tag):
                raise Refused(Why.TAG_BAD, fault)
        node = self.node(id_)
        unknown = [tag for tag in wanted if not self.policy.knows(tag)]
        if unknown:
            raise Refused(Why.TAG_UNKNOWN, " ".join(unknown))
        expiry = node.expiry if self.headscale else None
        return self.nodes.put(replace(node, tags=tuple(sorted(set(wanted))), user=None, expiry=expiry))

    def expire_node(self, id_: str, when: datetime | None) -> Node:
        """`when=None`: it never expires."""
        return self.nodes.put(replace(self.node(id_), expiry=when))

    def authorize_node(self, id_: str, authorized: bool) -> Node:
        return self.nodes.put(replace(self.node(id_), authorized=authorized))

    def approve_routes(self, id_: str, routes: Iterable[str]) -> Node:
        """Replaces the approved set. One default route stands for both; unadvertised ones may be approved ahead."""
        wanted: set[str] = set()
        for route in routes:
            try:
                prefix = ipaddress.ip_interface(route)
            except ValueError as wrong:
                raise Refused(Why.ROUTE_BAD, route) from wrong
            shown = str(prefix if self.headscale else prefix.network)
            wanted.update(_EVERYWHERE if shown in _EVERYWHERE else (shown,))
        approved = tuple(sorted(wanted, key=_order))
        return self.nodes.put(replace(self.node(id_), approved=approved))

    def serving(self, node: Node) -> tuple[str, ...]:
        """The subnets that this node is primary for: of all connected ones that may serve it, the oldest."""
        mine = [route for route in node.advertised if route in node.approved and route not in _EVERYWHERE]
        return tuple(
            route
            for route in mine
            if node.online
            and node.number
            == min(
                other.number
                for other in self.nodes.all()
                if other.online and route in other.advertised and route in other.approved
            )
        )
