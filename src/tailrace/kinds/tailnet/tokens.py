"""Tokens of the operator's own ServiceAccount, for tailnets that know the operator by its workload identity."""

from __future__ import annotations

from datetime import UTC, datetime

from tailrace import errors
from tailrace.api import kube
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.tailnet import credentials

TOKEN_LIFE = 3600


class TokenStatus(kube.Base, frozen=True, kw_only=True):
    token: str = ""
    expirationTimestamp: kube.Time

    def __repr__(self) -> str:
        return "TokenStatus(…)"


class TokenRequest(kube.Object, frozen=True, kw_only=True):
    """The answer to a request for a token of a ServiceAccount."""

    status: TokenStatus


TOKENS = Resource(group="", version="v1", plural="serviceaccounts", kind="TokenRequest", type=TokenRequest)


def build_mint(cluster: Kube, namespace: str, account: str) -> credentials.Mint:
    """How tokens of the operator's ServiceAccount come into being (Kubernetes' TokenRequest). `cluster` is one that asks
    for no lease: a standby lists devices too, and a token changes nothing."""

    async def mint(audience: str) -> credentials.AccountToken:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": TOKEN_LIFE},
        }
        try:
            answer = await cluster.create(
                TOKENS, body, namespace=namespace, name=account, subresource="token"
            )
        except errors.Transient:
            raise
        except errors.TailraceError as error:  # a NotFound from here must not be taken for a device's
            raise credentials.Unauthenticated(
                f"the cluster gives no token of ServiceAccount {namespace}/{account}: {error}"
            ) from error
        lifetime = (answer.status.expirationTimestamp - datetime.now(UTC)).total_seconds()
        return credentials.AccountToken(value=answer.status.token, lifetime=lifetime)

    return mint
