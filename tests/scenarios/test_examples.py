"""What `deploy/examples` holds for users to apply: all of it at once is accepted, and no mistake is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.scenarios.stage import Doc, Stage, call, raise_stage

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
TELLING = {"Service": "Accepted", "Connector": "Accepted", "ProxyClass": "ProxyClassReady"}


async def test_every_example_is_accepted_and_no_mistake_is(tmp_path: Path) -> None:
    """Also beside each other: no two of them want the same name. Tailnets wait for their Secrets, which are the user's."""
    async with raise_stage(tmp_path, "tailscale") as stage:
        documents = read("*")
        for doc in documents:
            stage.world.apply([doc])
        asking = {call(doc): TELLING[doc["kind"]] for doc in documents if asks(doc)}
        await stage.until(lambda: not find_silent(stage, asking), lambda: find_silent(stage, asking))
        told = {what: stage.condition(what, kind) for what, kind in asking.items()}
        refused = {what for what, said in told.items() if said.status != "True"}
        waiting = {what for what in refused if told[what].reason == "TailnetNotReady"}
        assert refused - waiting == {call(doc) for doc in read("mistakes")}, told
        assert waiting <= {call(doc) for doc in read("several-tailnets")}


def asks(doc: Doc) -> bool:
    """Whether it asks for something of ours."""
    notes = doc["metadata"].get("annotations") or {}
    ours = any(key.startswith("tailscale.com/") for key in notes) or doc.get("spec", {}).get(
        "loadBalancerClass"
    )
    return doc["kind"] in TELLING and (doc["kind"] != "Service" or bool(ours))


def find_silent(stage: Stage, asking: dict[str, str]) -> list[str]:
    """Those of which nothing is said yet."""
    return [what for what, kind in asking.items() if not stage.condition(what, kind).status]


def read(folder: str) -> list[Doc]:
    """All documents of a folder, or of every folder; namespaces first."""
    texts = (path.read_text() for path in sorted(EXAMPLES.glob(f"{folder}/*.yaml")))
    found = [doc for text in texts for doc in yaml.safe_load_all(text) if doc]
    return sorted(found, key=lambda doc: str(doc["kind"]) != "Namespace")
