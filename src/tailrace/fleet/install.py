"""What is the same for every object of this installation. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tailrace.proxy import spec
from tailrace.settings import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What the operator's settings say where an object is silent."""

    tags: tuple[str, ...]
    mode: Mode
    load_balancer: bool
    proxy_class: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Install:
    """This installation."""

    namespace: str
    defaults: Defaults
    image: spec.Image
    cluster_name: str
    cluster_domain: str
    key_ttl: timedelta
    delete_deadline: timedelta
