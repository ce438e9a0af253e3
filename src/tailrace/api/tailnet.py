"""Tailnet: one more tailnet that proxies may join, with the credential for its control plane."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from tailrace.api import crd, kube


class TailnetCredentials(kube.Base, frozen=True, kw_only=True):
    """Where the credential is."""

    secretName: Annotated[
        str,
        Meta(
            description="Name of a Secret in the operator's namespace, with `client_id` and either `client_secret` "
            "(OAuth client) or `audience` (workload identity: the operator exchanges a token of its service account)."
        ),
    ]


class TailnetSpec(kube.Base, frozen=True, kw_only=True):
    """Which control plane, and how to be known there."""

    credentials: TailnetCredentials
    loginUrl: Annotated[str, Meta(description="URL of the control plane; default: Tailscale's own.")] = ""


class TailnetStatus(kube.Base, frozen=True, kw_only=True):
    """Whether the tailnet can be used; written by the operator."""

    conditions: Annotated[
        kube.Conditions, Meta(description="How it stands, by type; `TailnetReady` sums it up.")
    ] = ()


class Tailnet(kube.Object, frozen=True, kw_only=True):
    """A tailnet that proxies may join, beside the operator's own."""

    spec: TailnetSpec
    status: TailnetStatus = TailnetStatus()


DEFINITION: Final = crd.Definition(
    group=crd.GROUP,
    version=crd.VERSION,
    kind="Tailnet",
    plural="tailnets",
    type=Tailnet,
    short_names=("tn",),
    columns=(
        crd.AGE,
        crd.Column(
            name="Status",
            path='.status.conditions[?(@.type == "TailnetReady")].reason',
            description="How it stands.",
        ),
    ),
)
