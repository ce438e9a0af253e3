"""Rendering offline is what `run` would apply: the five clusters' Services, and the mistakes that are refused."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml

from tailrace.api import names
from tailrace.cli.exits import Exit
from tailrace.cli.main import run_command

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


def render(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, object]], str]:
    assert run_command(["render", "-f", str(path)]) == Exit.OK
    out, err = capsys.readouterr()
    return [d for d in yaml.safe_load_all(out) if d], err


@pytest.mark.parametrize(
    ("file", "services"), [("solar", 2), ("workshop", 6), ("media", 1), ("wiki", 2), ("lab", 1)]
)
def test_each_service_of_the_five_clusters_becomes_five_objects(
    file: str, services: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = render(EXAMPLES / "five-clusters" / f"{file}.yaml", capsys)
    kinds = sorted(str(d["kind"]) for d in found)
    assert kinds == sorted(["ServiceAccount", "Role", "RoleBinding", "Secret", "StatefulSet"] * services)
    assert all(d["metadata"]["labels"][names.MANAGED] == "true" for d in found)  # type: ignore[index]


def test_no_rendered_secret_holds_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = render(EXAMPLES / "five-clusters", capsys)
    assert "AuthKey" not in str(found)


def test_a_mistake_is_told_and_renders_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found, notes = render(EXAMPLES / "mistakes", capsys)
    assert found == []
    assert 'for example "wiki-example-com"' in notes


def test_a_hyphen_means_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO((EXAMPLES / "five-clusters" / "media.yaml").read_text()))
    assert run_command(["render", "-f", "-"]) == Exit.OK
    assert "kind: StatefulSet" in capsys.readouterr().out
