"""Identity of a token with verified claims."""

import pytest
from msgspec.structs import replace

from sentry_trio.errors import NotPermittedError
from sentry_trio.kube.tokens import Caller, Claims, audiences, caller_of, read_claims, read_subject
from testkit.kube.fake_review import UID, Signer

CLAIMS = read_claims(Signer().token().encode())
UNSTRUCTURED = "provided token is not a properly structured service account token"


def test_the_audiences_and_their_order() -> None:
    assert audiences("example.org", "dapr") == ("dapr.io/sentry", "spiffe://example.org/ns/dapr/dapr-sentry")


def test_a_caller() -> None:
    assert caller_of(CLAIMS, "shop", "cart") == Caller("shop", "cart", "cart-0", UID, CLAIMS.expires_at)


def test_optional_claims_may_be_missing() -> None:
    # As Dapr's own tests have them.
    claims = replace(CLAIMS, namespace="", service_account="", pod_uid="", expires_at=None)
    assert caller_of(claims, "shop", "cart") == Caller("shop", "cart", "cart-0", None, None)


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        (replace(CLAIMS, pod_name=""), "kubernetes.io/pod/name claim is missing from Kubernetes token"),
        (replace(CLAIMS, namespace="other"), UNSTRUCTURED),
        (replace(CLAIMS, service_account="other"), UNSTRUCTURED),
        (replace(CLAIMS, pod_name="../secrets/a"), UNSTRUCTURED),
        (replace(CLAIMS, pod_name="a?b"), UNSTRUCTURED),
    ],
    ids=lambda value: str(value)[:40],
)
def test_claims_without_a_subject(claims: Claims, text: str) -> None:
    with pytest.raises(NotPermittedError) as caught:
        caller_of(claims, "shop", "cart")
    assert str(caught.value) == text


def test_a_subject() -> None:
    assert read_subject("system:serviceaccount:shop:cart") == ("shop", "cart")


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "alice",
        "system:admin",
        "system:node:node-1",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:cart:more",
        "user:serviceaccount:shop:cart",
        # Dapr Sentry 1.18 does not look at the second part.
        "system:node:shop:cart",
    ],
)
def test_subjects_that_are_no_service_account(subject: str) -> None:
    with pytest.raises(NotPermittedError) as caught:
        read_subject(subject)
    assert str(caught.value) == UNSTRUCTURED
