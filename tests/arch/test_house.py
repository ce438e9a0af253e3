"""The house itself: charters, the reading path, and words that do not belong into the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tailrace"
READING = (
    "src/tailrace/app.py",
    "src/tailrace/kinds/__init__.py",
    "src/tailrace/kinds/service/controller.py",
    "src/tailrace/kinds/service/decide.py",
    "src/tailrace/proxy/statefulset.py",
    "src/tailrace/plan/executor.py",
    "tests/laws/test_laws.py",
)


def list_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.mark.parametrize(
    "package", sorted(p.parent for p in SOURCE.rglob("__init__.py")), ids=lambda p: p.name
)
def test_every_package_opens_with_its_charter(package: Path) -> None:
    assert (package / "__init__.py").read_text().startswith('"""')


def test_the_seven_files_of_the_reading_path_are_there_and_can_be_read_in_an_hour() -> None:
    assert sum(len((ROOT / file).read_text().splitlines()) for file in READING) < 1_500


def test_nothing_is_left_for_later() -> None:
    word = re.compile(r"\bTO" r"DO\b|\bFIX" r"ME\b|NotImplemented" r"Error")
    found = [
        str(f.relative_to(ROOT)) for f in list_files() if f.suffix == ".py" and word.search(f.read_text())
    ]
    assert found == []


def test_no_path_of_a_machine_stands_in_the_repository() -> None:
    word = re.compile(r"/wo" r"rk/|/ro" r"ot/|/home/[a-z]+/")
    texts = [
        f
        for f in list_files()
        if f.suffix in {".py", ".md", ".toml", ".yaml", ".in", ""} and f.name != "LICENSE"
    ]
    assert [str(f.relative_to(ROOT)) for f in texts if word.search(f.read_text(errors="replace"))] == []


def test_the_lock_holds_hashes_and_no_addresses() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
