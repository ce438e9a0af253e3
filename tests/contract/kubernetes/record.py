"""What a real server answered to every talk. `python -m tests.contract.kubernetes.record` asks it anew."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import httpx2

from tests.contract import talking
from tests.contract.kubernetes.talk import Api, Doc, Talk
from tests.contract.kubernetes.talks import (
    access,
    applies,
    background,
    conversions,
    definitions,
    disruptions,
    kinds,
    lists,
    objects,
    refusals,
    services,
    writes,
)
from tests.rig import apiserver

SEEN = Path(__file__).with_name("seen.json")
_MODULES = (
    writes,
    objects,
    applies,
    lists,
    background,
    definitions,
    kinds,
    access,
    services,
    conversions,
    disruptions,
    refusals,
)


TALKS = talking.collect(_MODULES)


@functools.cache
def seen() -> dict[str, list[Doc]]:
    found: dict[str, list[Doc]] = json.loads(SEEN.read_text())
    return found


def main() -> None:
    told: dict[str, list[Doc]] = {}
    with tempfile.TemporaryDirectory() as folder, apiserver.start(Path(folder)) as server:
        with httpx2.Client(base_url=server.url, verify=False, timeout=30) as http:
            for name, talk in TALKS.items():
                told[name] = (heard := Talk(Api("real", server.url, apiserver.ADMIN, http))).written
                talk(heard)
    blocks = (
        f"{json.dumps(name)}: [\n{',\n'.join(json.dumps(line, ensure_ascii=False) for line in lines)}\n]"
        for name, lines in told.items()
    )
    SEEN.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


if __name__ == "__main__":
    main()
