"""The table of values without helm: complete, generated from, and free of contradictions."""

from __future__ import annotations

import json
import re
import tomllib

import yaml

from tailrace.cli import lint, values
from tools import gen, manifests

CHART = manifests.CHART


def test_every_setting_can_be_set_by_a_value() -> None:
    named = {value.env for value in values.VALUES} | values.BY_THE_POD
    assert set(values.SETTINGS) - named == set()


def test_a_value_names_only_settings_that_exist() -> None:
    assert {value.env for value in values.VALUES if value.env} <= set(values.SETTINGS)


def test_the_generated_files_are_current() -> None:
    stale = [path.name for path, text in gen.build_all() if path.parent == CHART and path.read_text() != text]
    assert stale == [], "run `make gen`"


def test_the_defaults_are_what_the_linter_accepts() -> None:
    assert lint.examine((CHART / "values.yaml").read_text()) == []


def test_the_defaults_file_says_what_the_table_says() -> None:
    found = yaml.safe_load((CHART / "values.yaml").read_text())
    for value in values.VALUES:
        node = found
        for name in value.path.split("."):
            node = node[name]
        assert node == value.default, value.path


def test_the_schema_knows_every_default_and_nothing_else() -> None:
    def walk(schema: dict[str, object], prefix: str = "") -> set[str]:
        children = schema["properties"]
        assert isinstance(children, dict)
        assert schema["additionalProperties"] is False
        return {
            path
            for name, child in children.items()
            for path in (walk(child, f"{prefix}{name}.") if "properties" in child else {f"{prefix}{name}"})
        }

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert walk(schema) == {*values.BY_PATH, "global"}


def test_no_value_is_both_served_and_explained_away() -> None:
    assert set(values.ELSEWHERE) & set(values.BY_PATH) == set()


def test_the_chart_has_the_rules_that_the_operator_is_tested_with() -> None:
    """Line by line, without helm; the real helm compares the documents."""

    def rules(text: str) -> list[str]:
        return re.findall(r"^  - \{apiGroups.*$", text, re.M)

    source = (manifests.ROOT / "src" / "tailrace" / "cli" / "rbac.yaml").read_text()
    chart = (CHART / "templates" / "rbac.yaml").read_text()
    filled = chart.replace("{{ .Release.Namespace }}", "tailscale").replace("{{ $name }}", "operator")
    assert rules(filled) == rules(source)


def test_chart_and_project_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((manifests.ROOT / "pyproject.toml").read_text())["project"]
    assert {chart["version"], chart["appVersion"]} == {project["version"]}
