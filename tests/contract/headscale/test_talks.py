"""Every talk of `talks` with the emulation and with real servers: each answers as its release did when it was asked.

`seen.json` was written down from real servers; `record` does it anew. So the emulation is held to a real 0.29 also
where there is none, and where there is one, what is written here is held to it.
"""

from __future__ import annotations

import pytest

from tests.contract.headscale import record
from tests.contract.headscale.conftest import Find


@pytest.mark.parametrize("name", record.TALKS)
def test_the_server_answers_as_the_real_one_did(find: Find, which: str, name: str) -> None:
    server = find(which, record.SETUPS.get(name, "database"))
    assert record.hold(server, name) == record.seen()[server.release][name]
