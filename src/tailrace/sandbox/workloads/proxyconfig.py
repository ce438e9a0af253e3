"""What a proxy container was told to be: the mounted configuration file, or its environment where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tailrace.sandbox.workloads import bootconfig
from tailrace.sandbox.workloads.proxynode import Preferences


class Configuration:
    """`wanted` and `locked` as of the last successful look. Broken and missing files raise bootconfig.Refused."""

    def __init__(
        self,
        settings: bootconfig.Settings,
        env: Mapping[str, str],
        *,
        read_file: Callable[[str], bytes | None],
        list_dir: Callable[[str], Sequence[str]],
    ) -> None:
        """Choose the file, once, and read it."""
        self._read_file = read_file
        self._default_hostname = env.get("HOSTNAME") or env.get("POD_NAME") or "localhost"
        self._path: str | None = None
        self._data: bytes | None = None
        self.locked = False
        if settings.config_dir is not None:
            root = settings.config_dir.rstrip("/")
            self._path = bootconfig.config_path(root, {f"{root}/{name}": b"" for name in list_dir(root)})
            self.reload()
            return
        self.wanted = Preferences(
            hostname=settings.hostname or self._default_hostname,
            server=settings.server or bootconfig.DEFAULT_SERVER,
            auth_key=settings.auth_key,
            tags=settings.advertise_tags,
            routes=settings.routes or (),
        )

    def reload(self) -> bool:
        """Read the file again; whether it has changed."""
        if self._path is None:
            return False
        data = self._read_file(self._path)
        if data is None:
            raise bootconfig.Refused(
                f"error reading configfile: open {self._path}: no such file or directory"
            )
        if data == self._data:
            return False
        config = bootconfig.parse_config(data)
        self._data, self.locked = data, config.locked
        self.wanted = Preferences(
            hostname=config.hostname or self._default_hostname,
            server=config.server,
            auth_key=config.auth_key,
            routes=config.routes,
            enabled=config.enabled,
            accept_routes=config.accept_routes,
            exit_node=config.exit_node,
            app_connector=config.app_connector,
        )
        return True

    def read_key(self) -> str:
        """The key that is in the file now: none in one that is gone or broken."""
        try:
            self.reload()
        except bootconfig.Refused:
            return ""
        return self.wanted.auth_key or ""
