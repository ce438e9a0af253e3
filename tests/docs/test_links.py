"""No link of the documentation leads nowhere."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages


@pytest.mark.parametrize("page", pages.list_pages(), ids=lambda p: str(p.relative_to(pages.ROOT)))
def test_every_relative_link_and_anchor_leads_somewhere(page: Path) -> None:
    broken = [link for link in pages.read_links(page.read_text()) if not leads_somewhere(page, link)]
    assert broken == []


def leads_somewhere(page: Path, link: str) -> bool:
    if "://" in link or link.startswith("mailto:"):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in pages.read_anchors(target.read_text())


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    todo = [pages.DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in pages.read_links(page.read_text()) if "://" not in link)
        todo += [(page.parent / link).resolve() for link in links if link]
    assert sorted(set(pages.DOCS.rglob("*.md")) - seen) == []


def test_every_page_stands_in_the_navigation() -> None:
    project = tomllib.loads((pages.ROOT / "zensical.toml").read_text())["project"]
    there = {str(page.relative_to(pages.DOCS)) for page in pages.DOCS.rglob("*.md")}
    assert there - set(list_leaves(project["nav"])) == set()


def list_leaves(nav: object) -> Iterator[str]:
    """The pages of a navigation: strings in lists in titles."""
    match nav:
        case str():
            yield nav
        case dict():
            yield from list_leaves(list(nav.values()))
        case list():
            for entry in nav:
                yield from list_leaves(entry)


@pytest.mark.parametrize(
    ("text", "links", "anchors"),
    [
        ("# A `b` c\n[x](y.md#z)\n```\n[no](link)\n# none\n```\n", ["y.md#z"], {"a-b-c"}),
        ("## What it is, and is not\n`[no](link)`\n", [], {"what-it-is-and-is-not"}),
    ],
)
def test_code_holds_neither_links_nor_headings(text: str, links: list[str], anchors: set[str]) -> None:
    assert (pages.read_links(text), pages.read_anchors(text)) == (links, anchors)
