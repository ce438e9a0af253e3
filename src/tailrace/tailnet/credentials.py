"""Where it is written who we are to a control plane (`identity`): files, Secrets, tokens made for us.

A `Source` is asked for each call and answers with what is written *now*: a rotated Secret is in use with the next
call, without a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tailrace import errors
from tailrace.tailnet.identity import ApiKey as ApiKey
from tailrace.tailnet.identity import Credential as Credential
from tailrace.tailnet.identity import Federation as Federation
from tailrace.tailnet.identity import OAuthClient as OAuthClient
from tailrace.tailnet.identity import Unauthenticated as Unauthenticated
from tailrace.tailnet.identity import WorkloadIdentity as WorkloadIdentity
from tailrace.tailnet.identity import Written, trim
from tailrace.tailnet.identity import choose_keys as choose_keys
from tailrace.wire import clock as clocks

IDENTITY_TOKEN = Path("/var/run/secrets/tailscale/serviceaccount/token")
"""Where the official operator's chart projects the service account token for workload identity."""


class Source(Protocol):
    async def prepare(self) -> None:
        """Do what `read` needs and cannot wait for; called before each use. Raises as `read` does, and `Transient`."""

    def read(self) -> Credential:
        """What is written now. Raises `Unauthenticated` when it is not there or not complete."""

    @property
    def where(self) -> str:
        """For people, e.g. `Secret tailscale/operator-oauth`."""


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
                seen = self._seen[path] = (signature, trim(path.read_bytes()))
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
