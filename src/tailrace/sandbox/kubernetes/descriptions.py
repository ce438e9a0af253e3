"""What the server says about itself, as bytes: discovery, OpenAPI, version; built once for each state of the registry."""

from __future__ import annotations

from collections.abc import Callable

from tailrace.sandbox.kubernetes import discovery, openapi, status
from tailrace.sandbox.kubernetes.answers import encode
from tailrace.sandbox.kubernetes.resources import Registry
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Doc


class Descriptions:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[tuple[int, str], bytes] = {}

    def aggregated(self, path: str) -> bytes:
        """`/api` or `/apis` in the aggregated form."""
        return self._keep(f"{path} aggregated", lambda: discovery.aggregated(self._registry, path == "/api"))

    def read(self, path: str) -> bytes:
        """Any other path. Raises 404."""
        return self._keep(path, lambda: self._build(path))

    def _build(self, path: str) -> Doc:
        registry = self._registry
        match path.strip("/").split("/"):
            case ["version"]:
                return discovery.version()
            case [""]:
                return {
                    "paths": [
                        "/api",
                        "/api/v1",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/openapi/v3",
                        "/readyz",
                        "/version",
                    ]
                }
            case ["api"]:
                return discovery.versions()
            case ["apis"]:
                return discovery.groups(registry)
            case ["apis", group] if registry.versions(group):
                return discovery.group(registry, group)
            case ["api", version] if registry.in_version("", version):
                return discovery.resources(registry, "", version)
            case ["apis", group, version] if registry.in_version(group, version):
                return discovery.resources(registry, group, version)
            case ["openapi", "v2"]:
                return openapi.v2(registry)
            case ["openapi", "v3"]:
                return openapi.index(registry)
            case ["openapi", "v3", "api", version] if registry.in_version("", version):
                return openapi.document(registry, "", version)
            case ["openapi", "v3", "apis", group, version] if registry.in_version(group, version):
                return openapi.document(registry, group, version)
            case ["apis", group, _]:
                raise nothing_there(registry, group)
        raise status.page_not_found()

    def _keep(self, key: str, build: Callable[[], Doc]) -> bytes:
        """Built once for each state of the registry."""
        at = (self._registry.revision, key)
        if at not in self._documents:
            self._documents = {k: v for k, v in self._documents.items() if k[0] == at[0]}
            self._documents[at] = encode(build())
        return self._documents[at]


def nothing_there(registry: Registry, group: str) -> ApiError:
    """Only groups that are built in answer as an API; what definitions add is a path like any other until it is there."""
    built_in = any(resource.crd is None for resource in registry if resource.group == group)
    return status.no_such_resource() if built_in else status.page_not_found()
