"""Towns for the commands' tests: with the operator, and without; commands that look often."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tailrace.cli import expose, status
from tailrace.settings import LOCAL
from tests.cli.town import Person, Town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """With the operator."""
    found = Town(tmp_path_factory.mktemp("town"))
    with found.live(operator=True):
        yield found


@pytest.fixture(scope="module")
def quiet_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Without an operator: what nobody works on stays as it is."""
    found = Town(tmp_path_factory.mktemp("quiet"))
    with found.live(operator=False):
        yield found


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean environment, and commands that look often."""
    for name in (*LOCAL, "OPERATOR_NAMESPACE", "OPERATOR_LOGIN_SERVER", "KUBECONFIG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(expose, "LOOK", 0.05)
    monkeypatch.setattr(expose, "GRACE", 60.0)  # longer than any machine is slow
    monkeypatch.setattr(status, "REFRESH", 0.05)


@pytest.fixture
def person(town: Town, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(town, capsys, town.world.kubeconfig)
