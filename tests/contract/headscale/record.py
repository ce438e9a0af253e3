"""What real servers answered to every talk. `python -m tests.contract.headscale.record [RELEASE…]` asks them anew."""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.contract import talking
from tests.contract.headscale.talk import POLICY, Doc, Server, Setup, Talk
from tests.contract.headscale.talks import credentials, keys, nodes, policies, requests, users
from tests.rig import tailnet

SEEN = Path(__file__).with_name("seen.json")
_MODULES = (users, keys, nodes, policies, credentials, requests)
SETUPS: dict[str, Setup] = {"policies.is_nowhere_at_first": "empty", "policies.is_in_a_file": "file"}
"""Of talks that need another server than the usual one."""


TALKS = talking.collect(_MODULES)


@functools.cache
def seen() -> dict[str, dict[str, list[Doc]]]:
    """By release and talk."""
    found: dict[str, dict[str, list[Doc]]] = json.loads(SEEN.read_text())
    return found


@contextmanager
def start_real(folder: Path, release: str, setup: Setup) -> Iterator[Server]:
    binary = tailnet.RELEASES[release]
    with (
        tailnet.start_headscale(folder, binary, policy=setup) as server,
        httpx2.Client(base_url=server.url, timeout=30) as http,
    ):
        real = Server(f"Headscale {release}", release, setup, server.api_key, http)
        if setup == "database":
            Talk(real).put("policy", {"policy": POLICY})
        yield real


def hold(server: Server, name: str) -> list[Doc]:
    """What a talk with a server wrote down."""
    talk = Talk(server)
    TALKS[name](talk)
    return talk.written


def _ask(release: str) -> dict[str, list[Doc]]:
    told: dict[str, list[Doc]] = {}
    for setup in ("database", "empty", "file"):
        with tempfile.TemporaryDirectory() as folder, start_real(Path(folder), release, setup) as server:
            names = [name for name in TALKS if SETUPS.get(name, "database") == setup]
            told |= {name: hold(server, name) for name in names}
    return told


def main() -> None:
    told = seen() if SEEN.exists() else {}
    told |= {release: _ask(release) for release in sys.argv[1:] or tailnet.RELEASES}
    SEEN.write_text(_print({release: told[release] for release in sorted(told)}))


def _print(told: dict[str, dict[str, list[Doc]]]) -> str:
    """One line an answer, so that a difference is one line too."""

    def lines(entries: list[Doc]) -> str:
        return ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)

    releases = (
        f"{json.dumps(release)}: {{\n"
        + ",\n".join(f"{json.dumps(name)}: [\n{lines(entries)}\n]" for name, entries in talks.items())
        + "\n}"
        for release, talks in told.items()
    )
    return "{\n" + ",\n".join(releases) + "\n}\n"


if __name__ == "__main__":
    main()
