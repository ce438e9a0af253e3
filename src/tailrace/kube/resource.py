"""How a kind of object is addressed: names for the path, and the struct that its objects are read into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from tailrace.api.kube import Object
from tailrace.errors import Bug

PAGE = 500
"""Objects a list asks for at once, as kubectl does."""


class Key(NamedTuple):
    """What identifies an object of a kind; `namespace` is "" for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    """The key of an object."""
    return Key(obj.metadata.namespace, obj.metadata.name)


class PageMeta(msgspec.Struct, frozen=True, gc=False):
    resourceVersion: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, frozen=True, gc=False):
    """A page of a list whose items are not decoded yet, so that one bad item spoils no other."""

    metadata: PageMeta = PageMeta()
    items: tuple[msgspec.Raw, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource[T: Object]:
    """A resource of the API, read as `type`. `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    type: type[T]
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection (of one namespace, or of all when `namespace` is empty), or of one object.

        Raises:
            Bug: one object of a namespaced resource is meant, but its namespace is not given.
        """
        if self.namespaced and name and not namespace:
            raise Bug(f"{self.kind} {name} needs a namespace.")
        parts = ["/apis" if self.group else "/api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def describe(self, namespace: str | None, name: str | None) -> str:
        """The object or collection for people, such as `Service default/web` or `all Services`."""
        if name:
            return f"{self.kind} {Key(namespace or '', name)}"
        return f"{self.plural} in {namespace}" if namespace else self.plural
