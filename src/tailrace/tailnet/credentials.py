"""Who we are to a control plane, and where that is written.

A `Source` is asked for each call and answers with what is written *now*: a rotated Secret is in use with the next
call, without a restart. Values are trimmed: a Secret made with `echo` ends in a newline, and the official
operator's silence about it has cost people hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tailrace import errors
from tailrace.wire import clock as clocks

IDENTITY_TOKEN = Path("/var/run/secrets/tailscale/serviceaccount/token")
"""Where the official operator's chart projects the service account token for workload identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """Client credentials (Tailscale; Headscale from 0.30)."""

    id: str
    secret: str = field(repr=False)

    @property
    def identity(self) -> str:
        return f"OAuth client {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadIdentity:
    """A service account token that the control plane exchanges for an access token (Tailscale)."""

    id: str
    token: str = field(repr=False)

    @property
    def identity(self) -> str:
        return f"federated identity {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A Headscale API key or a Tailscale API token: may do everything."""

    value: str = field(repr=False)

    @property
    def identity(self) -> str:
        """Its kind and public prefix: `<kind>-<prefix>-<secret>`, in old Headscales `<prefix>.<secret>`."""
        parts = self.value.split("-")
        if len(parts) >= 4 and parts[0] in ("tskey", "hskey"):
            return f"API key {'-'.join(parts[:2])}-{parts[2]}…"
        prefix, dot, _ = self.value.partition(".")
        return f"API key {prefix}…" if dot else "API key"


type Credential = OAuthClient | WorkloadIdentity | ApiKey


class Unauthenticated(errors.Denied):
    """We are nobody to the control plane: nothing to show, or what we show is not known. (A plain `Denied` is
    somebody who may not.)"""


class Source(Protocol):
    async def prepare(self) -> None:
        """Do what `read` needs and cannot wait for; called before each use. Raises as `read` does, and `Transient`."""

    def read(self) -> Credential:
        """What is written now. Raises `Unauthenticated` when it is not there or not complete."""

    @property
    def where(self) -> str:
        """For people, e.g. `Secret tailscale/operator-oauth`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """As which client a service account token for `audience` is exchanged."""

    id: str
    audience: str

    @property
    def identity(self) -> str:
        return f"federated identity {self.id}"


type Written = OAuthClient | Federation | ApiKey
"""What the keys of a Secret ask for."""


def choose_keys(keys: Mapping[str, str | bytes], *, where: str) -> Written:
    """What the keys of a Secret ask for: `api_key`, or `client_id` with `audience` or `client_secret`; the audience
    wins over the secret. Raises `Unauthenticated` in the official operator's words when they are not complete."""
    found = {name: _trim(value) for name, value in keys.items()}
    if not any(found.values()):
        raise Unauthenticated(f"{where} is empty")
    if key := found.get("api_key"):
        return ApiKey(value=key)
    if not (client := found.get("client_id")):
        raise Unauthenticated(f"{where} is missing the client_id field")
    if audience := found.get("audience"):
        return Federation(id=client, audience=audience)
    if secret := found.get("client_secret"):
        return OAuthClient(id=client, secret=secret)
    raise Unauthenticated(f"{where} must contain either a client_secret or an audience field")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountToken:
    """A service account token and for how many seconds it lives."""

    value: str = field(repr=False)
    lifetime: float


type Mint = Callable[[str], Awaitable[AccountToken]]
"""Mints a service account token for an audience. Raises errors of `tailrace.errors`."""


class Values:
    """Credentials in the keys of a Secret, as `choose_keys` understands them.

    `read_keys` is asked each time (a store's lookup); None means that there is no such Secret. `mint` is needed for
    workload identity only; its token is kept until four fifths of its life are over.
    """

    def __init__(
        self,
        read_keys: Callable[[], Mapping[str, str | bytes] | None],
        *,
        where: str,
        mint: Mint | None = None,
        clock: clocks.Clock | None = None,
    ) -> None:
        self._read_keys = read_keys
        self.where = where
        self._mint = mint
        self._clock = clock or clocks.SystemClock()
        self._minting = asyncio.Lock()
        self._token: AccountToken | None = None
        self._audience = ""
        self._renew_at = self._ends_at = 0.0

    async def prepare(self) -> None:
        """Mint a token where one is needed. One that fails while the old one lives is tried again with the next call."""
        written = self._choose()
        if not isinstance(written, Federation) or self._mint is None:
            return
        async with self._minting:
            now = self._clock.monotonic()
            if self._token is not None and self._audience == written.audience and now < self._renew_at:
                return
            try:
                self._token = await self._mint(written.audience)
            except errors.TailraceError:
                if self._audience != written.audience or now >= self._ends_at:
                    self._token = None
                    raise
                return
            self._audience = written.audience
            self._renew_at = now + self._token.lifetime * 0.8
            self._ends_at = now + self._token.lifetime

    def read(self) -> Credential:
        written = self._choose()
        if not isinstance(written, Federation):
            return written
        if self._token is None or self._audience != written.audience:
            raise Unauthenticated(f"{self.where} asks for workload identity, and there is no token for it.")
        return WorkloadIdentity(id=written.id, token=self._token.value)

    def _choose(self) -> Written:
        keys = self._read_keys()
        if keys is None:
            raise Unauthenticated(f"{self.where} does not exist.")
        return choose_keys(keys, where=self.where)


class Files:
    """Credentials in files, as Secrets are mounted. A file is read again only when it changed."""

    def __init__(
        self,
        *,
        client_id: str = "",
        client_id_file: Path | None = None,
        client_secret_file: Path | None = None,
        identity_token_file: Path | None = None,
        api_key_file: Path | None = None,
    ) -> None:
        self._client_id = client_id.strip()
        self._client_id_file = client_id_file
        self._client_secret_file = client_secret_file
        self._identity_token_file = identity_token_file
        self._api_key_file = api_key_file
        self._seen: dict[Path, tuple[tuple[int, int, int], str]] = {}

    @property
    def where(self) -> str:
        files = (
            self._api_key_file,
            self._client_id_file,
            self._client_secret_file,
            self._identity_token_file,
        )
        return ", ".join(str(file) for file in files if file is not None)

    async def prepare(self) -> None:
        """Nothing to wait for: files are small and near."""

    def read(self) -> Credential:
        if self._api_key_file is not None:
            return ApiKey(value=self._content(self._api_key_file))
        client = self._client_id or self._content(self._client_id_file)
        if self._identity_token_file is not None:
            return WorkloadIdentity(id=client, token=self._content(self._identity_token_file))
        return OAuthClient(id=client, secret=self._content(self._client_secret_file))

    def _content(self, path: Path | None) -> str:
        if path is None:
            raise Unauthenticated("No file with credentials is named.")
        try:
            # A mounted Secret is swapped by a symlink: the inode tells even when size and time do not.
            stat = path.stat()
            signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if (seen := self._seen.get(path)) is None or seen[0] != signature:
                seen = self._seen[path] = (signature, _trim(path.read_bytes()))
        except OSError as cause:
            raise Unauthenticated(f"The credential file {path} cannot be read: {cause.strerror}.") from cause
        if not seen[1]:
            raise Unauthenticated(f"The credential file {path} is empty.")
        return seen[1]


def choose_files(
    *,
    client_id: str = "",
    client_id_file: Path | None = None,
    client_secret_file: Path | None = None,
    api_key_file: Path | None = None,
    identity_token_file: Path = IDENTITY_TOKEN,
) -> Files:
    """The source that the settings ask for. A client id by itself selects workload identity, as in the official
    operator. Raises `Usage` when they name no credential, half of one, or two."""
    oauth = client_id_file is not None or client_secret_file is not None
    if api_key_file is not None:
        if oauth or client_id:
            raise errors.Usage(
                "Both an API key and an OAuth client are named.",
                hint="Set TAILRACE_API_KEY_FILE, or CLIENT_ID_FILE and CLIENT_SECRET_FILE, not both.",
            )
        return Files(api_key_file=api_key_file)
    if client_id:
        return Files(client_id=client_id, identity_token_file=identity_token_file)
    if client_id_file is None or client_secret_file is None:
        raise errors.Usage(
            "Half of an OAuth client is named." if oauth else "No credentials for a control plane are named.",
            hint="Set CLIENT_ID_FILE and CLIENT_SECRET_FILE (OAuth client), CLIENT_ID (workload identity), "
            "or TAILRACE_API_KEY_FILE (Headscale API key or Tailscale API token).",
        )
    return Files(client_id_file=client_id_file, client_secret_file=client_secret_file)


def identify(source: Source) -> str:
    """Who we are, for people; also when we are nobody."""
    try:
        return source.read().identity
    except Unauthenticated:
        return f"nobody ({source.where})"


def _trim(value: str | bytes) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).strip()
