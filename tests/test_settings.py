"""Settings: every variable has a default that parses, and a wrong value is a sentence that names it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from tailrace import settings
from tailrace.errors import Usage


def test_an_empty_environment_is_fine() -> None:
    loaded = settings.load({})
    assert loaded.proxy_tags == ("tag:k8s",)
    assert loaded.delete_deadline == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ("PROXY_TAGS", "k8s"),
        ("OPERATOR_DEFAULT_LOAD_BALANCER", "yes"),
        ("PROXY_FIREWALL_MODE", "pf"),
        ("OPERATOR_LOGIN_SERVER", "headscale.example.com"),
        ("TAILRACE_PROXY_MODE", "fast"),
        ("TAILRACE_KEY_TTL", "soon"),
        ("TAILRACE_WORKERS", "0"),
        ("TAILRACE_METRICS_ADDRESS", "8080"),
        ("OPERATOR_LOGGING", "loud"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(env: str, value: str) -> None:
    with pytest.raises(Usage, match=env) as caught:
        settings.load({env: value})
    assert env in caught.value.hint


def test_every_setting_is_documented_and_named_once() -> None:
    fields = dataclasses.fields(settings.Settings)
    assert all(field.metadata["doc"] for field in fields)
    assert len({field.metadata["env"] for field in fields}) == len(fields)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("search tailscale.svc.corp.example svc.corp.example corp.example\n", "corp.example"),
        ("search tailscale.svc.cluster.local svc.cluster.local cluster.local lan\n", "cluster.local"),
        ("search lan\n", "cluster.local"),
        ("", "cluster.local"),
        ("search tailscale.svc.a svc.b c\n", "cluster.local"),
    ],
)
def test_the_cluster_domain_comes_from_the_search_list(text: str, domain: str) -> None:
    assert settings.find_cluster_domain(text, "tailscale") == domain


def test_what_is_written_down_reads_as_the_same_settings() -> None:
    environment = {
        "OPERATOR_NAMESPACE": "there",
        "PROXY_TAGS": "tag:b,tag:a",
        "OPERATOR_DEFAULT_LOAD_BALANCER": "true",
        "TAILRACE_PROXY_MODE": "userspace",
        "TAILRACE_KEY_TTL": "90m",
        "TAILRACE_METRICS_ADDRESS": "[::1]:9090",
        "TAILRACE_WORKERS": "3",
    }
    loaded = settings.load(environment)
    written = settings.dump(loaded)
    assert settings.load(written) == loaded
    assert settings.dump(settings.load(written)) == written


def test_credentials_and_files_are_not_written_down() -> None:
    loaded = settings.load(dict.fromkeys(settings.LOCAL, "/secret/place"))
    assert "secret" not in str(settings.dump(loaded))
