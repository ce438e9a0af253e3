"""Compare before writing: an object that already is what we want costs no request.

Two things must hold to leave a write out. The digest of what was applied last (kept in an annotation) equals the
digest of what we want: so a field that we no longer want is noticed. And the live object covers what we want: so a
field that somebody changed is noticed. Fields that the server or others added do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from tailrace.api import kube, names
from tailrace.plan.ops import Apply, Manifest


def compute_digest(value: object) -> str:
    """16 hex digits over the JSON of a value; key order does not matter."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


def stamp(manifest: Manifest) -> dict[str, Any]:
    """The manifest with the digest of itself as annotation."""
    meta = manifest["metadata"]
    noted = {**meta.get("annotations", {}), names.APPLIED: compute_digest(manifest)}
    return {**manifest, "metadata": {**meta, "annotations": noted}}


def covers(live: object, wanted: object) -> bool:
    """True when every field of `wanted` has that value in `live`; lists must agree in length and order."""
    match wanted:
        case Mapping():
            return isinstance(live, Mapping) and all(
                k in live and covers(live[k], v) for k, v in wanted.items()
            )
        case list() | tuple():
            return (
                isinstance(live, list | tuple)
                and len(live) == len(wanted)
                and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
            )
        case _:
            return live == wanted


def decide_apply(wanted: Manifest, live: kube.Object | None) -> Apply | None:
    """The apply that makes `live` what `wanted` says, or None when it is so already.

    `live` is the narrow struct from the store; of its fields only those that the struct has can be compared, so the
    struct of a child has every field that we write.
    """
    stamped = stamp(wanted)
    if live is None or live.metadata.deletionTimestamp is not None:
        return Apply(manifest=stamped)
    body = {k: v for k, v in stamped.items() if k not in {"apiVersion", "kind"}}
    there = to_plain(live)
    if covers(there, body) or covers(there, to_plain(narrow(body, type(live)))):
        return None
    return Apply(manifest=stamped)


def narrow[T: kube.Object](body: Manifest, struct: type[T]) -> T:
    """What the store would have of these values: a field that says what would be so anyway falls out."""
    return msgspec.json.decode(msgspec.json.encode(body), type=struct)


def to_plain(live: kube.Object) -> dict[str, Any]:
    """A narrow struct as JSON values, undecoded parts decoded."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(live))
    return plain
