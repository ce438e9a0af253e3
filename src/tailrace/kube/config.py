"""Which cluster is meant, and how to log in there: kubeconfig files as kubectl reads them, or the pod's own account.

lightkube parses and authenticates; this module adds what it leaves out: several files in KUBECONFIG, sentences for
people, and credential plugins of `client.authentication.k8s.io/v1`, which today's clouds use.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User, UserExec
from lightkube.core.exceptions import ConfigError

from tailrace.errors import Denied, Usage

DEFAULT_FILE = Path("~/.kube/config")
_HINT = "name one with --kubeconfig FILE, or set KUBECONFIG"
_FILE_FIELDS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def load_config(
    *,
    kubeconfig: Path | None,
    context: str | None,
    in_cluster_ok: bool,
    environ: Mapping[str, str] = os.environ,
) -> SingleConfig:
    """Find the cluster, in kubectl's order: the given file, KUBECONFIG, the pod's service account, ~/.kube/config.

    Raises:
        Usage: no configuration, an unreadable one, or no such context; the hint says what to type.
    """
    if kubeconfig is not None:
        return _select(_merge([kubeconfig.expanduser()]), context)
    if environ.get("KUBECONFIG"):
        paths = [Path(part).expanduser() for part in environ["KUBECONFIG"].split(os.pathsep) if part]
        return _select(_merge([path for path in paths if path.exists()] or paths[:1]), context)
    if in_cluster_ok and context is None and environ.get("KUBERNETES_SERVICE_HOST"):
        return _load_service_account()
    return _select(_merge([DEFAULT_FILE.expanduser()]), context)


def _load_service_account() -> SingleConfig:
    try:
        config = KubeConfig.from_service_account(SERVICE_ACCOUNT).get()
    except (ConfigError, OSError, KeyError) as error:
        raise Usage(
            f"The pod's service account cannot be used: {error}.",
            hint="set automountServiceAccountToken: true on the pod",
        ) from error
    assert config is not None  # only a kubeconfig without a current context gives None
    return config._replace(context_name="in-cluster")


def _merge(paths: list[Path]) -> dict[str, Any]:
    """One configuration out of several files: the first that names a cluster, user or context wins, as in kubectl."""
    merged: dict[str, Any] = {"clusters": {}, "contexts": {}, "users": {}, "current-context": None}
    for path in paths:
        document = _read(path)
        for part in ("clusters", "contexts", "users"):
            for entry in document.get(part) or []:
                merged[part].setdefault(entry["name"], entry)
        merged["current-context"] = merged["current-context"] or document.get("current-context") or None
    return {**merged, **{part: list(merged[part].values()) for part in ("clusters", "contexts", "users")}}


def _read(path: Path) -> dict[str, Any]:
    """A kubeconfig with the paths in it absolute."""
    try:
        document = yaml.safe_load(path.read_text())
        for part in ("clusters", "contexts", "users"):
            for entry in document.get(part) or []:
                entry["name"] = str(entry["name"])
                entry[part[:-1]] = _make_absolute(entry[part[:-1]] or {}, path.parent)
    except FileNotFoundError:
        raise Usage(f"There is no kubeconfig {path}.", hint=_HINT) from None
    except OSError as error:
        raise Usage(f"The kubeconfig {path} cannot be read: {error.strerror}.", hint=_HINT) from None
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, KeyError):
        # Without the cause: a YAML error quotes the lines around it, and those may hold a token.
        raise Usage(f"{path} is not a kubeconfig.", hint=_HINT) from None
    return dict(document)


def _make_absolute(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        name: str(folder.absolute() / item) if name in _FILE_FIELDS and item else item
        for name, item in value.items()
    }


def _select(document: dict[str, Any], context: str | None) -> SingleConfig:
    names = sorted(str(entry["name"]) for entry in document["contexts"])
    wanted = context or document["current-context"]
    if wanted is None:
        raise Usage(
            "The kubeconfig has no current context.",
            hint=f"choose one: --context {'|'.join(names) or 'NAME'}",
        )
    if wanted not in names:
        raise Usage(
            f'The kubeconfig has no context "{wanted}".', hint=f"it has: {', '.join(names) or 'none'}"
        )
    try:
        config = KubeConfig.from_dict(document).get(wanted)
    except KeyError as error:
        raise Usage(
            f'The context "{wanted}" names {error}, which the kubeconfig does not have.',
            hint=f"kubectl config view --context {wanted}",
        ) from None
    except (msgspec.ValidationError, ConfigError) as error:
        raise Usage(f"The kubeconfig is not valid: {error}.", hint="kubectl config view") from None
    assert config is not None
    if not re.match(r"https?://[^/\s]", config.cluster.server):
        raise Usage(
            f'The cluster of context "{wanted}" has the server "{config.cluster.server}", which is no URL.',
            hint="write server: https://HOST:PORT in the kubeconfig",
        )
    return config if config.user is not None else config._replace(user=User())


class ExecAuth(httpx2.Auth):
    """A bearer token from a credential plugin, asked for at first use and again when the server says 401.

    Source: Kubernetes reference, "client-go credential plugins". Plugins that answer with a client certificate
    instead of a token are refused with a sentence.
    """

    def __init__(self, plugin: UserExec) -> None:
        self._plugin = plugin
        self._token: str | None = None

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
            response = yield request
            if response.status_code != 401:
                return
        self._token = await self._ask()
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    async def _ask(self) -> str:
        plugin = self._plugin
        info = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
        env = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        env.update((item.name, item.value) for item in plugin.env or [])
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.command,
                *(plugin.args or []),
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            hint = f" {plugin.installHint.strip()}" if plugin.installHint else ""
            raise Denied(
                f"The credential plugin {plugin.command} cannot be started: {error.strerror}.{hint}"
            ) from error
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise Denied(
                f"The credential plugin {plugin.command} failed with exit code {process.returncode}."
            )
        try:
            return str(json.loads(output)["status"]["token"])
        except (ValueError, KeyError, TypeError):
            raise Denied(f"The credential plugin {plugin.command} gave no token.") from None


def _list_files(config: SingleConfig) -> Iterable[str]:
    """The certificates and keys that a configuration names: a TLS context says that one lacks, not which."""
    user = config.user or User()
    return filter(None, (config.cluster.certificate_auth, user.client_cert, user.client_key, user.token_file))


def open_clients(
    config: SingleConfig,
    *,
    timeout: httpx2.Timeout,
    limits: httpx2.Limits,
    wrap_transport: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None = None,
) -> tuple[httpx2.AsyncClient, httpx2.AsyncClient]:
    """Two authenticated HTTP clients for the cluster, for calls and for watches.

    Each has connections of its own: the library looks through all of a pool's before and after each request, and those
    of watches would be more than half of them. With `wrap_transport` both have the one that it makes.

    Raises:
        Usage: a certificate, key or login method in the configuration cannot be used.
    """
    plugin = config.user.exec if config.user is not None else None
    for path in _list_files(config):
        if not Path(path).is_file():
            raise Usage(
                f'The cluster of context "{config.context_name}" cannot be used: there is no file {path}.',
                hint="kubectl config view",
            )
    try:
        params = ConnectionParams(timeout=timeout).httpx_params(config)
        # What Go clients accept must be good here too: many clusters' certificates lack the key identifiers that
        # Python 3.13 asks for by default.
        params["verify"].verify_flags &= ~ssl.VERIFY_X509_STRICT
        if plugin is not None:
            params["auth"] = ExecAuth(plugin)
        if wrap_transport is not None:
            params["transport"] = wrap_transport(
                httpx2.AsyncHTTPTransport(verify=params["verify"], limits=limits)
            )
        return httpx2.AsyncClient(**params, limits=limits), httpx2.AsyncClient(**params, limits=limits)
    except (ConfigError, OSError, ValueError, httpx2.InvalidURL) as error:
        raise Usage(
            f'The cluster of context "{config.context_name}" cannot be used: {error}.',
            hint="kubectl config view",
        ) from error
