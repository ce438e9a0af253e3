"""The sandbox serves the kinds from the first moment: manifests of them are applied like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.api import crd, definitions
from tailrace.cli import sandbox
from tailrace.errors import Usage
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import Options, World

DEFINITIONS = Ref("apiextensions.k8s.io", "v1", "customresourcedefinitions")


def build(kind: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tailscale.com/v1alpha1",
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": spec,
    }


OBJECTS = (
    build("Connector", exitNode=True),
    build("ProxyClass", tailscale={"acceptRoutes": True}),
    build("Tailnet", credentials={"secretName": "other"}),
)


@pytest.mark.anyio
async def test_objects_of_every_kind_are_taken_and_wrong_ones_refused(tmp_path: Path) -> None:
    async with await World.start(tmp_path, Options(pace=0.1)) as world:
        await sandbox.fill(world, OBJECTS)
        for kind, written in zip(definitions.ALL, OBJECTS, strict=True):
            found = world.cluster.get(Ref(kind.group, kind.version, kind.plural), "a")
            assert found["spec"] == written["spec"]
        with pytest.raises(Usage, match="at least one of exit node, subnet router or app connector"):
            await sandbox.fill(world, [build("Connector") | {"metadata": {"name": "b"}}])


@pytest.mark.anyio
async def test_definitions_among_the_manifests_come_first(tmp_path: Path) -> None:
    """People have them in the same folder, perhaps another version's; theirs are the ones that count."""
    theirs = [crd.build_crd(kind) for kind in definitions.ALL]
    theirs[0]["spec"]["names"]["categories"] = ["all"]
    async with await World.start(tmp_path, Options(pace=0.1)) as world:
        await sandbox.fill(world, [*OBJECTS, *theirs])
        found = world.cluster.get(DEFINITIONS, definitions.ALL[0].name)
        assert found["spec"]["names"]["categories"] == ["all"]
