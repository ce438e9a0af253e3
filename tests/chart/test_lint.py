"""`tailrace lint values`: the mistakes that people made, each with its line and the way out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.cli import lint, values
from tailrace.cli.main import run_command
from tailrace.errors import Usage

MISTAKES = (
    (
        "operatorConfig:\n  acceptRoutes: true\n",
        2,
        "operatorConfig.acceptRoutes has never been a value",
        "remove it",
    ),
    (
        'operatorConfig:\n  defaultTags: "tag:k8s"\n',
        2,
        "tags the official operator's own device",
        "proxyConfig.defaultTags",
    ),
    (
        'proxyConfig:\n  defaultTags: ["tag:k8s", "tag:prod"]\n',
        2,
        "proxyConfig.defaultTags is a list where a string is wanted",
        "write proxyConfig.defaultTags: 'tag:k8s,tag:prod'",
    ),
    ("proxyConfig:\n  defaultResources: {}\n", 2, "has never been a value", "operatorConfig.resources"),
    (
        "kind: Secret\napiVersion: v1\nmetadata: {name: tailscale-oauth}\nstringData: {clientId: a, clientSecret: b}\n",
        1,
        "Secret tailscale-oauth has the keys clientId and clientSecret, which nobody reads",
        "name it operator-oauth and its keys client_id and client_secret",
    ),
    ("oauth:\n  existingSecret: my\n", 2, "is not a value", "oauthSecretVolume: {secret: {secretName: my}}"),
    (
        "oauthSecretVolume: {secret: {secretName: my, items: [{key: clientId, path: clientId}]}}\n",
        1,
        "no file client_id and no file client_secret",
        "path: client_id",
    ),
    ("oauth:\n  client_secret: a\n", 2, "is not a value", "did you mean oauth.clientSecret?"),
    ("apiKey:\n  secretName: a\n", 2, "apiKey.secretName is not a value", "write apiKey.existingSecret"),
    ("oauth:\n  client_id: a\n", 2, "oauth.client_id is not a value", "did you mean oauth.clientId?"),
    ("\nclientSecret: {}\n", 2, "clientSecret is not a value", "did you mean oauth.clientSecret?"),
    ("operatorConfig:\n  imgae: {}\n", 2, "operatorConfig.imgae is not a value", "operatorConfig.image?"),
    ("loginserver: https://a\n", 1, "loginserver is not a value", "did you mean loginServer?"),
    ("zzzz: 1\n", 1, "zzzz is not a value", "values.yaml of the chart lists them all"),
    ("apiServerProxyConfig: {mode: 'true'}\n", 1, "does not serve", "remove it"),
    ("oauth: a\n", 1, "oauth is a string where a map is wanted", "it has audience, clientId, clientSecret"),
    ("operatorConfig: {workers: '3'}\n", 1, "is a string where a whole number is wanted", "workers: 16"),
    ("operatorConfig: {replicas: true}\n", 1, "is a boolean where a whole number is wanted", "replicas: 1"),
    ("operatorConfig: {leaderElection: 'false'}\n", 1, "where true or false is wanted", "without quotes"),
    (
        "operatorConfig: {clusterName: 7}\n",
        1,
        "is a whole number where a string is wanted",
        'clusterName: "7"',
    ),
    ("operatorConfig: {workers: 0}\n", 1, "0 is less than 1", "at once"),
    ("operatorConfig: {logging: trace}\n", 1, "'trace' is not one of info, debug, dev", "debug"),
    ("operatorConfig: {podLabels: {a: 1}}\n", 1, "has something that is not a string", "Labels"),
    ("proxyConfig: {defaultTags: k8s}\n", 1, 'has "k8s", which is not `tag:`', "tags"),
    ("proxyConfig: {defaultTags: ''}\n", 1, "is empty", "tags"),
    ("proxyConfig: {keyTTL: 1 hour}\n", 1, "is not a duration such as 90s", "auth key"),
    ("loginServer: headscale.example.com\n", 1, "is not a URL", "control plane"),
    ("caBundle: a\ncaBundle: b\n", 2, "caBundle is there twice", "keep one"),
    (
        "operatorConfig: {extraEnv: [{name: PROXY_TAGS, value: 'tag:a'}]}\n",
        1,
        "extraEnv has PROXY_TAGS, which the chart sets itself",
        "set proxyConfig.defaultTags",
    ),
    ("kind: Service\napiVersion: v1\n", 1, "this is a manifest (Service", "kubectl apply"),
    ("a: 1\noauth:\n  clientId: x\n", 2, "half of an OAuth client", "set oauth.clientSecret too"),
)


@pytest.mark.parametrize(("text", "line", "sentence", "hint"), MISTAKES, ids=lambda p: str(p)[:40])
def test_a_mistake_is_found_with_its_line_and_the_way_out(
    text: str, line: int, sentence: str, hint: str
) -> None:
    found = [f for f in lint.examine(text) if sentence in f.sentence]
    assert len(found) == 1
    assert found[0].line == line
    assert hint in found[0].hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "operatorConfig:\n",
        "oauth: {clientId: null}\n",
        "global: {anything: 1}\n",
        "operatorConfig: {resources: {limits: {memory: 1Gi}}}\n",
        "imagePullSecrets: &x [{name: a}]\nnetworkPolicy: {metricsFrom: *x}\n",
        "operatorConfig: {<<: {workers: 2}, replicas: 2}\n",
        "proxyConfig: {firewallMode: ''}\n",
    ],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert lint.examine(text) == []


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "hello\n", "a: 1\n---\nb: 1\n", "? {a: 1}\n: 2\n"])
def test_what_is_no_map_of_values_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        lint.examine(text)


@pytest.mark.parametrize("path", values.BY_PATH)
def test_a_known_path_with_other_hyphens_and_case_leads_back_to_it(path: str) -> None:
    assert lint.suggest(path.replace("C", "_c").replace("O", "-o")) == path


def test_the_command_prints_findings_and_exits_as_for_something_typed_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("oauth:\n  client_id: a\nloginServer: 3\n")
    assert run_command(["lint", "values", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{file}:2: oauth.client_id is not a value of this chart.",
        "  hint: did you mean oauth.clientId?",
        f"{file}:3: loginServer is a whole number where a string is wanted.",
        '  hint: write loginServer: "3"',
    ]
    assert err == f"{file}: 2 mistakes\n"


@pytest.mark.parametrize(
    "text",
    [
        "oauth: {clientSecret: 4711}",
        "apiKey: {value: [4711]}",
        "oauth: {secret: '4711'}",
        "caBundle: {a: 4711}",
    ],
)
def test_no_finding_repeats_a_credential(text: str) -> None:
    assert (found := lint.examine(text))
    assert "4711" not in str(found)


def test_a_hyphen_is_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("loginserver: a\n"))
    assert run_command(["lint", "values", "-"]) == 2
    assert capsys.readouterr().out.startswith("-:1: loginserver is not a value")


def test_a_right_file_is_said_to_be_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("loginServer: https://headscale.example.com\napiKey: {existingSecret: headscale}\n")
    assert run_command(["lint", "values", str(file)]) == 0
    assert capsys.readouterr() == ("", f"{file}: nothing is wrong\n")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lint", "values", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read: No such file or directory." in capsys.readouterr().err


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
INSIDE = st.sampled_from(["secret", "items", "path", "name", "stringData"]) | st.text(max_size=2)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(INSIDE, inner, max_size=2),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [*values.BY_PATH, *values.ELSEWHERE, *sorted(lint.GROUPS), "kind", "apiVersion", "metadata"]
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(PATHS, TREES, max_size=6))
def test_whatever_stands_in_a_file_the_linter_has_an_answer(flat: dict[str, object]) -> None:
    tree: dict[str, object] = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            inner = node.setdefault(parent, {})
            node = inner if isinstance(inner, dict) else {}
        node[name] = value
    for finding in lint.examine(yaml.safe_dump(tree)):
        assert finding.line > 0
        assert finding.sentence
        assert finding.hint
