"""The one condition that the official operator has for a kind, and its words while not all is well. Pure.

Whoever waits for that operator's condition goes on doing so. A kind of its own adds its row to `WORDS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tailrace.api.conditions import ConditionType, Reason
from tailrace.fleet.claims import Claim, Named
from tailrace.fleet.world import Root


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The condition and its reasons."""

    kind: ConditionType
    pending: Reason  # waits for something
    invalid: Reason  # is asked for wrongly
    failed: Reason  # could not be carried out


WORDS: Mapping[str, Words] = {  # by the parent type of the proxies' labels
    "svc": Words(
        kind=ConditionType.PROXY_READY,
        pending=Reason.PROXY_PENDING,
        invalid=Reason.PROXY_INVALID,
        failed=Reason.PROXY_FAILED,
    ),
    "connector": Words(
        kind=ConditionType.CONNECTOR_READY,
        pending=Reason.CONNECTOR_CREATING,
        invalid=Reason.CONNECTOR_INVALID,
        failed=Reason.CONNECTOR_CREATION_FAILED,
    ),
}


def tell_pending(root: Root, claim: Claim) -> Named:
    words = WORDS[root.parent]
    return words.kind, dataclasses.replace(claim, reason=words.pending)


def tell_invalid(root: Root, claim: Claim) -> Named:
    words = WORDS[root.parent]
    return words.kind, dataclasses.replace(claim, reason=words.invalid)


def tell_failed(root: Root, claim: Claim) -> Named:
    words = WORDS[root.parent]
    return words.kind, dataclasses.replace(claim, reason=words.failed)
