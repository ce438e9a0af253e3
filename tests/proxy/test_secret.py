"""The proxy's Secret: what we write, what we read back, and where the key may be."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tailrace.api import kube, names
from tailrace.proxy import secret, spec

IMAGE = spec.Image(image="tailscale/tailscale:v1", login_server="https://hs.example.com")


KERNEL = spec.Address(ip="10.0.0.1")


def build(target: spec.Target = KERNEL) -> spec.ProxySpec:
    return spec.ProxySpec(
        name="ts-web-abc",
        namespace="tailscale",
        labels={},
        app="uid",
        hostname="web",
        secret_name="ts-web-abc-0",
        mode=spec.Mode.USERSPACE if isinstance(target, spec.Forwards) else spec.Mode.KERNEL,
        target=target,
        image=IMAGE,
    )


def decode(manifest: dict[str, object]) -> kube.ProxySecret:
    return msgspec.convert(manifest, kube.ProxySecret)


def test_the_configuration_is_what_tailscaled_reads() -> None:
    """Bare booleans, unlocked, no tags: those come from the key alone."""
    assert secret.build_config(build()) == {
        "Version": "alpha0",
        "Locked": False,
        "Hostname": "web",
        "acceptDNS": False,
        "acceptRoutes": False,
        "NoStatefulFiltering": True,
        "ServerURL": "https://hs.example.com",
    }


def test_forwards_become_a_serve_configuration() -> None:
    forwards = spec.Forwards(
        ports=(
            spec.Forward(port=80, host="fd00::1", target=8080),
            spec.Forward(port=5432, host="db", target=5432),
        ),
        proxy_protocol=2,
    )
    assert secret.build_serve_config(forwards) == {
        "TCP": {
            "80": {"TCPForward": "[fd00::1]:8080", "ProxyProtocol": 2},
            "5432": {"TCPForward": "db:5432", "ProxyProtocol": 2},
        }
    }


def test_a_key_is_put_in_found_again_and_stripped_for_decisions() -> None:
    keyed = secret.put_key(
        secret.build_secret(build(), notes={}), "tskey-auth-x", "k1", "2026-01-01T00:00:00+00:00"
    )
    stored = decode(keyed)
    assert secret.find_key(stored) == "tskey-auth-x"
    state = secret.read(stored)
    assert state.has_key
    assert "tskey-auth-x" not in repr(state)
    assert state.note(names.KEY_ID) == "k1"


def test_the_digest_does_not_change_when_the_key_goes() -> None:
    """So that dropping the key is the only write it takes."""
    manifest = secret.build_secret(build(), notes={})
    keyed = secret.put_key(manifest, "k", "k1", "2026-01-01T00:00:00+00:00")
    kept = {k: v for k, v in keyed["metadata"]["annotations"].items() if k != names.APPLIED}
    from tailrace.plan import diff

    dropped = diff.stamp(secret.build_secret(build(), notes=kept))
    assert (
        dropped["metadata"]["annotations"][names.APPLIED] == keyed["metadata"]["annotations"][names.APPLIED]
    )


def test_a_proxy_asks_for_a_key_only_with_the_key_it_has() -> None:
    def ask(refused: str, key: str) -> bool:
        manifest = secret.carry_key(secret.build_secret(build(), notes={}), key)
        manifest["data"] = {**manifest["data"], "reissue_authkey": kube.encode_key(refused)}
        return secret.read(decode(manifest)).wants_key

    assert ask("old", "old")
    assert not ask("old", "new")
    assert ask("", "")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_a_proxy_writes_can_be_read(ips: bytes, config: bytes) -> None:
    """Every byte from outside is hostile: nothing raises, addresses are addresses."""
    import base64

    data = kube.ProxySecretData(
        device_ips=base64.b64encode(ips).decode(), config=base64.b64encode(config).decode(), device_id="%%%"
    )
    state = secret.read(kube.ProxySecret(data=data))
    assert state.device_id == ""
    assert all("." in a or ":" in a for a in state.addresses)
