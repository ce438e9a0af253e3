"""The image's recipe, read without a container tool: what must hold of it whoever builds it."""

from __future__ import annotations

import re

import pytest

from tools import manifests

ROOT = manifests.ROOT


def read_steps() -> list[tuple[str, str]]:
    """Instructions with their arguments, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines()) if name
    ]


STEPS = read_steps()
LAST = max(index for index, (name, _) in enumerate(STEPS) if name == "FROM")


def get(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


@pytest.mark.parametrize("image", get("FROM"))
def test_a_base_image_is_named_by_its_full_version(image: str) -> None:
    assert re.match(r"docker\.io/library/python:3\.13\.\d+-slim-[a-z]+( AS build)?$", image)


def test_all_stages_stand_on_the_same_base() -> None:
    assert len({image.split()[0] for image in get("FROM")}) == 1


def test_it_runs_as_a_numbered_user_without_rights() -> None:
    """A name could not be proved to be no root, so a pod with runAsNonRoot would not start."""
    assert [rest for name, rest in STEPS[LAST:] if name == "USER"] == ["65532:65532"]


def test_nothing_is_fetched_but_locked_requirements() -> None:
    assert get("ADD") == []
    runs = " ".join(get("RUN"))
    assert not re.search(r"https?://|curl|wget|apt-get", runs)
    installs = re.findall(r"\binstall\b[^&]*", runs)
    assert installs
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)


def test_what_runs_needs_no_shell() -> None:
    last = STEPS[LAST:]
    assert all(rest.startswith("[") for name, rest in last if name in {"RUN", "ENTRYPOINT", "CMD"})
    assert [rest for name, rest in last if name == "ENTRYPOINT"] == ['["/opt/tailrace/bin/tailrace"]']


def test_bytecode_is_compiled_for_the_program_and_the_standard_library() -> None:
    runs = [rest for rest in get("RUN") if "compileall" in rest]
    assert [run.split('"')[-2] if run.startswith("[") else run.split()[-1] for run in runs] == [
        "/opt/tailrace/lib",
        "/usr/local/lib/python3.13",
    ]
    assert all("unchecked-hash" in run for run in runs)


def test_what_it_copies_is_there() -> None:
    sources = [part for rest in get("COPY") if "--from" not in rest for part in rest.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
