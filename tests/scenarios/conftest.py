"""A clean environment: what a person has set for a real operator is not for these."""

from __future__ import annotations

import pytest

from tailrace.settings import LOCAL


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LOCAL, "OPERATOR_NAMESPACE", "OPERATOR_LOGIN_SERVER", "PROXY_TAGS", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
