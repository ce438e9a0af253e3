"""HuJSON: JSON with comments and trailing commas, as tailscaled reads its configuration."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)


def decode(text: str) -> Any:
    """The value. Raises json.JSONDecodeError (a ValueError) for what is no HuJSON."""
    return json.loads(_TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else " ", text))
