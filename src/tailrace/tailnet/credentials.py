"""Who we are to a control plane, and where that is written.

A `Source` is asked for each call and answers with what is written *now*: a rotated Secret is in use with the next
call, without a restart. Values are trimmed: a Secret made with `echo` ends in a newline, and the official
operator's silence about it has cost people hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tailrace import errors

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
    def read(self) -> Credential:
        """What is written now. Raises `Unauthenticated` when it is not there or not complete."""

    @property
    def where(self) -> str:
        """For people, e.g. `Secret tailscale/operator-oauth`."""


class Values:
    """Credentials in the keys of a Secret: `client_id` and `client_secret`, or `api_key`.

    `read_keys` is asked each time (a store's lookup); None means that there is no such Secret.
    """

    def __init__(self, read_keys: Callable[[], Mapping[str, str | bytes] | None], *, where: str) -> None:
        self._read_keys = read_keys
        self.where = where

    def read(self) -> Credential:
        keys = self._read_keys()
        if keys is None:
            raise Unauthenticated(f"{self.where} does not exist.")
        found = {name: _trim(value) for name, value in keys.items()}
        if key := found.get("api_key"):
            return ApiKey(value=key)
        if (client := found.get("client_id")) and (secret := found.get("client_secret")):
            return OAuthClient(id=client, secret=secret)
        raise Unauthenticated(f"{self.where} has neither client_id and client_secret nor api_key.")


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
