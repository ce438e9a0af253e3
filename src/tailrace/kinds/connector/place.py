"""Which proxies a Connector's replicas are: their names, what exists of each, and what belongs to no replica. Pure.

Replica i has one name, `<base>-<i>`, for its Secret, StatefulSet and rights. The official operator has the same Secrets
and one StatefulSet `<base>` beside them; with its random base the Secrets, and so the devices, are kept.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tailrace.api import kube
from tailrace.fleet.world import Children, Place
from tailrace.proxy import names as proxy_names

NUMBERED = re.compile(r"(?P<base>.+)-(?P<number>0|[1-9][0-9]{0,2})")
ROOM = len("-999")


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """All proxies of a Connector, sorted out. `others` are the objects that belong to no single one."""

    replicas: tuple[Place, ...]
    surplus: tuple[Children, ...]  # proxies that belong to no replica (any more)
    foreign: tuple[Children, ...]  # workloads that hold Secrets of other names: they stop before ours start
    others: tuple[tuple[str, kube.Object], ...]

    @property
    def all(self) -> tuple[Children, ...]:
        """All proxies, and with the last what belongs to no single one."""
        found = (*(place.children for place in self.replicas), *self.surplus, *self.foreign)
        rest = Children(others=self.others)
        return (*(c for c in found if c != Children()), *([rest] if self.others else []))


def build_base(name: str) -> str:
    """The usual base: with room for a number behind it."""
    stem, _, digest = proxy_names.build_child_name("connector", "", name).rpartition("-")
    return f"{stem[: proxy_names.STATEFULSET_LIMIT - ROOM - len(digest) - 1].rstrip('-')}-{digest}"


def find_places(proxies: Mapping[str, Children], name: str, replicas: int) -> Places:
    """Sort out what exists. The base is the usual one, or that of the Secrets which are there already."""
    base = find_base(proxies, build_base(name))
    wanted = [f"{base}-{i}" for i in range(replicas)]
    alone = {key: dataclasses.replace(found, others=()) for key, found in proxies.items()}
    rest = [found for key, found in alone.items() if key not in wanted and found != Children()]
    return Places(
        replicas=tuple(
            Place(name=key, secret_name=key, children=alone.get(key, Children())) for key in wanted
        ),
        surplus=tuple(c for c in rest if not is_foreign(c)),
        foreign=tuple(c for c in rest if is_foreign(c)),
        others=tuple(pair for found in proxies.values() for pair in found.others),
    )


def find_base(proxies: Mapping[str, Children], usual: str) -> str:
    """Of the bases that have a Secret with a number the usual one, else the first that leaves room for a number: a
    StatefulSet's name is short, since its pods carry it in a label."""
    matches = [NUMBERED.fullmatch(name) for name, found in proxies.items() if found.state is not None]
    bases = sorted({match["base"] for match in matches if match})
    fitting = [base for base in bases if len(base) + ROOM <= proxy_names.STATEFULSET_LIMIT]
    return usual if usual in fitting or not fitting else fitting[0]


def is_foreign(children: Children) -> bool:
    """It runs and has no Secret of its name: the official operator's one StatefulSet for all replicas."""
    return children.state is None and (children.statefulset is not None or children.pod is not None)
