"""From the outcomes of a few questions to one `Probe`, the same for every dialect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from tailrace import errors
from tailrace.tailnet import credentials
from tailrace.tailnet.port import Capability, Probe


async def attempt(question: Callable[[], Awaitable[object]]) -> errors.TailraceError | None:
    """What went wrong, or None. The question is put only once its turn has come: one that is cancelled before leaves
    nothing behind."""
    try:
        await question()
    except errors.TailraceError as error:
        return error
    return None


def build_probe(
    *,
    dialect: str,
    server: str,
    version: str | None,
    identity: str,
    capabilities: frozenset[Capability],
    outcomes: Iterable[errors.TailraceError | None],
    missing: Iterable[str] = (),
) -> Probe:
    """`outcomes` of the questions that the main job cannot do without."""
    failures = [outcome for outcome in outcomes if outcome is not None]
    unknown = [failure for failure in failures if isinstance(failure, credentials.Unauthenticated)]
    silent = [failure for failure in failures if isinstance(failure, errors.Transient)]
    lacking = tuple(dict.fromkeys(missing))
    problem = None
    if unknown or silent or failures:
        problem = str((unknown or silent or failures)[0])
    if lacking and not unknown and not silent:
        words = f" {failures[0]}" if failures else ""
        problem = f"{identity} lacks {' and '.join(lacking)}: grant it on the control plane.{words}"
    return Probe(
        dialect=dialect,
        server=server,
        version=version,
        identity=identity,
        reachable=not silent,
        authenticated=not unknown and not silent,
        capabilities=capabilities,
        missing=lacking,
        problem=problem,
    )
