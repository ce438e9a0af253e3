"""What the documentation's tests read: pages, headings, links, and consoles with what they are said to show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a console, and what it is said to print."""

    command: str
    shows: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that the reader is told to save."""

    name: str
    text: str


def list_pages() -> list[Path]:
    """Every page that a reader may open: the documentation, and the pages beside it."""
    return sorted(DOCS.rglob("*.md")) + sorted(ROOT.glob("*.md"))


def read_steps(text: str) -> Iterator[Step | Saved]:
    """Consoles and titled files of a page, in its order."""
    for fence in _FENCE.finditer(text):
        info, body = fence["info"], fence["body"]
        if title := _TITLE.search(info):
            yield Saved(title[1], body)
        elif info.strip() == "console":
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, shows = part.partition("\n")
                yield Step(command.strip(), shows)


def strip_code(text: str) -> str:
    """A page without its code, in which brackets are no links."""
    return re.sub(r"`[^`\n]*`", "code", _FENCE.sub("", text))


def read_links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", strip_code(text))


def read_anchors(text: str) -> set[str]:
    """The anchors of a page's headings, where all renderers agree about them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}
