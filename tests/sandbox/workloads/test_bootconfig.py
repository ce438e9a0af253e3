"""What the proxy image reads and refuses, as tables."""

from __future__ import annotations

import pytest

from tailrace.sandbox.workloads import bootconfig

ONE_STEP = {"TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR": "/etc/tsconfig", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}


@pytest.mark.parametrize(
    "env, said",
    [
        ({"TS_DEST_IP": "10.0.0.1"}, "TS_DEST_IP is not supported with TS_USERSPACE"),
        (
            {"TS_EXPERIMENTAL_DEST_DNS_NAME": "a"},
            "TS_EXPERIMENTAL_DEST_DNS_NAME is not supported with TS_USERSPACE",
        ),
        (
            {"TS_DEST_IP": "10.0.0.1", "TS_EXPERIMENTAL_DEST_DNS_NAME": "a", "TS_USERSPACE": "false"},
            "TS_EXPERIMENTAL_DEST_DNS_NAME and TS_DEST_IP cannot both be set",
        ),
        (
            ONE_STEP | {"TS_HOSTNAME": "x"},
            "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR cannot be set in combination",
        ),
        (ONE_STEP | {"TS_ROUTES": ""}, "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR cannot be set in combination"),
        (
            {"TS_ENABLE_HEALTH_CHECK": "true", "TS_LOCAL_ADDR_PORT": ":9002"},
            "error parsing TS_LOCAL_ADDR_PORT",
        ),
        ({"TS_BOOT_TIMEOUT": "soon"}, "error parsing TS_BOOT_TIMEOUT"),
    ],
)
def test_refused_environments(env: dict[str, str], said: str) -> None:
    with pytest.raises(bootconfig.Refused, match=said):
        bootconfig.read_settings(env)


def test_defaults_in_kubernetes() -> None:
    """Userspace, the Secret `tailscale`, a minute to boot."""
    settings = bootconfig.read_settings({"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    assert (settings.userspace, settings.kube_secret, settings.boot_timeout) == (True, "tailscale", 60.0)
    assert bootconfig.read_settings({"KUBERNETES_SERVICE_HOST": "x", "TS_KUBE_SECRET": ""}).kube_secret == ""


def test_the_newest_configuration_that_we_can_read_wins() -> None:
    """A file for a later capability version is left alone; none at all is fatal."""
    files = dict.fromkeys((f"/c/cap-{n}.hujson" for n in (95, 107, 143)), b"{}")
    assert bootconfig.config_path("/c", files) == "/c/cap-107.hujson"
    with pytest.raises(bootconfig.Refused):
        bootconfig.config_path("/c", {"/c/cap-143.hujson": b"{}"})


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"version":"alpha0","Tags":["tag:k8s"]}', "unknown field"),
        ('{"version":"alpha0","Locked":"false"}', "cannot unmarshal"),
        ('{"version":"alpha1"}', "unsupported"),
        ('{"version":"alpha0","AdvertiseRoutes":["10.0.0.1/8"]}', "has host bits set"),
        ('{"version":', "error parsing config file"),
    ],
)
def test_refused_configurations(text: str, said: str) -> None:
    with pytest.raises(bootconfig.Refused, match=said):
        bootconfig.parse_config(text.encode())


def test_configuration_is_hujson_and_its_names_have_any_case() -> None:
    """Comments and trailing commas are fine; text that only looks like them stays."""
    text = b'{"Version":"alpha0", // c\n "serverurl":"https://hs.example.com/", /* d */ "Hostname":"a//b,}",}'
    config = bootconfig.parse_config(text)
    assert (config.server, config.hostname, config.locked) == ("https://hs.example.com", "a//b,}", True)


def test_serve_configuration() -> None:
    """Forwards with their PROXY version; nothing to do for a missing file; a broken one is fatal."""
    serve = bootconfig.parse_serve(b'{"TCP":{"8108":{"TCPForward":"10.96.7.2:80","ProxyProtocol":2}}}')
    assert serve is not None
    assert dict(serve.tcp) == {8108: bootconfig.Forward(host="10.96.7.2", port=80, proxy_protocol=2)}
    assert bootconfig.parse_serve(b"") is None
    for broken in (b"{", b"[]", b'{"TCP":{"x":{"TCPForward":"a:1"}}}'):
        with pytest.raises(bootconfig.Refused):
            bootconfig.parse_serve(broken)
