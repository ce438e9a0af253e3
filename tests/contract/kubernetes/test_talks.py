"""Every talk of `talks` with the sandbox and with the real server: what either answers is what was recorded.

`seen.json` was written down from a real kube-apiserver; `record` does it anew. So the sandbox is held to a real
server also where there is none, and where there is one, what is written here is held to it.
"""

from __future__ import annotations

import pytest

from tests.contract.kubernetes import record
from tests.contract.kubernetes.talk import Talk


@pytest.mark.parametrize("name", record.TALKS)
def test_the_server_answers_as_the_real_one_did(talk: Talk, name: str) -> None:
    record.TALKS[name](talk)
    assert talk.written == record.seen()[name]
