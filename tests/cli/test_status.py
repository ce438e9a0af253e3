"""`tailrace status` against a cluster with the operator in it."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import yaml

from tailrace.cli import status
from tailrace.cli.exits import Exit
from tests.cli.town import Person, Town, backend, service


@pytest.fixture(scope="module", autouse=True)
def _exposed(town: Town) -> None:
    """`web` with three ports answers, `bare` has nothing behind it, `plain` is not exposed; `shop/till` answers not."""
    town.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    till = service("till", expose="true")
    till["metadata"]["namespace"] = "shop"
    town.apply(service("web", ports=(80, 81, 82), expose="true"), backend("web"))
    town.apply(service("bare", expose="true"), service("plain"), till)
    town.wait_for("web", "True", "Ready")
    town.wait_for("bare", "False", "NoEndpoints")


def test_the_table_has_a_row_for_each_exposed_service_and_aligned_columns(person: Person) -> None:
    said = person.type("status")
    assert said.code == Exit.OK
    head, *rows = said.out.splitlines()
    assert [row.split()[0] for row in rows] == [
        "service/default/bare",
        "service/default/web",
        "service/shop/till",
    ]
    web = next(row for row in rows if "/web" in row)
    for title, value in (("DEVICE", "default-web "), ("URLS", "http://default-web."), ("READY", "True")):
        assert web[head.index(title) :].startswith(value)
    assert "+2" in web
    assert ":82" not in web
    assert said.err == ""
    assert "\x1b" not in said.out


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_url_and_the_message(form: str, read: Any, person: Person) -> None:
    rows = {row["object"]: row for row in read(person.type("status", "-o", form).out)}
    web, bare = rows["service/default/web"], rows["service/default/bare"]
    assert [url.rpartition(":")[2] for url in web["urls"]] == ["80", "81", "82"]
    assert web["ready"] == "True"
    assert web["addresses"]
    assert bare["reason"] == "NoEndpoints"
    assert bare["message"]


def test_a_namespace_narrows_it_and_all_namespaces_is_what_it_is_without(person: Person) -> None:
    def rows(*options: str) -> list[str]:
        return [line.split()[0] for line in person.type("status", *options).out.splitlines()[1:]]

    assert rows("-n", "shop") == ["service/shop/till"]
    assert rows("-A") == rows("--all-namespaces") == rows() == rows("-n", "shop", "-A")


def test_where_nothing_is_exposed_it_says_how(person: Person) -> None:
    said = person.type("status", "-n", "nowhere")
    assert said.out == ""
    assert "tailrace expose" in said.err


def test_a_watch_prints_again_on_change_and_outlives_a_hiccup(
    town: Town, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[list[str]] = []
    enough = threading.Event()
    show = status.print_rows

    def note(rows: list[Any], form: Any) -> None:
        show(rows, form)
        printed.append([row.object for row in rows])
        if len(printed) == 1:
            town.on(lambda world: world.api.faults.fail_next(500, times=2))
            town.apply(service("late", expose="true"))
        elif "service/default/late" in printed[-1]:
            enough.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(status, "print_rows", note)
    said = person.type("status", "--watch")
    assert said.code == 130
    assert enough.is_set()
    assert said.out.count("OBJECT") == len(printed) >= 2
