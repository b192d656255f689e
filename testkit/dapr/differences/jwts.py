"""Differences in JWTs."""

from typing import Final

from .entry import NOT_SIGNED, REFUSED, TOLERATED, Difference

ENTRIES: Final = (
    Difference(
        id="jwt-new-key",
        dapr="key or key set missing: both are generated, and the trust bundle is written again",
        ours="a missing key set is made from the key; a set without a key is an error; the trust bundle is unchanged",
        reason="tokens in use stay valid",
        seen=REFUSED,
    ),
    Difference(
        id="jwt-off",
        dapr="files are read and verified with JWTs off, too",
        ours="not read",
        reason="a feature that is off cannot prevent the start",
        seen=TOLERATED,
    ),
    Difference(
        id="jwt-generated-keys",
        dapr="a generated key is RSA whatever the algorithm, and does not load again for another one",
        ours="it fits the algorithm",
        reason="the second start works as the first",
        shown="tests/ca/test_jwt_key.py::test_a_generated_key_can_be_loaded",
    ),
    Difference(
        id="jwt-key-id",
        dapr="`--jwt-key-id` with a generated key: tokens and key set differ, and the next load fails",
        ours="the key set has the ID",
        reason="the second start works as the first",
        shown="tests/ca/test_jwt_key.py::test_a_key_set_that_has_the_key",
    ),
    Difference(
        id="jwt-key-id-of-the-set",
        dapr="the key ID of tokens may not be in your key set",
        ours="the ID that the set gives the key",
        reason="verifiers find the key",
        seen={"JWT .*: header": (".+", ".+")},
    ),
    Difference(
        id="jwt-private-keys",
        dapr="private keys in a key set are published",
        ours="rejected",
        reason="a key is not leaked",
        shown="tests/ca/test_jwt_key.py::test_a_private_key_is_not_published",
    ),
    Difference(
        id="jwt-lifetime",
        dapr="tokens outlive their certificates",
        ours="they end with them",
        reason="both prove the same identity",
        seen={"JWT .*: claims": (".+", ".+")},
    ),
    Difference(
        id="jwt-audiences",
        dapr="audiences are unbounded",
        ours="16, of 1,024 bytes each, else InvalidArgument",
        reason="each one costs a signature",
        seen=NOT_SIGNED,
    ),
    Difference(
        id="jwt-rotation",
        dapr="keys are never rotated",
        ours="with `--jwt-key-rotation`, without a moment in which a token fails to verify",
        reason="a leaked key expires",
        shown="tests/ca/test_jwt_rotation.py::test_no_token_fails_at_any_moment",
    ),
    Difference(
        id="jwt-published-set",
        dapr="the key set is put into the ConfigMap when something is generated",
        ours="always, and edits of it are reverted; with key rotation only the OIDC server publishes it, if enabled",
        reason="verifiers never see a stale set",
        shown="tests/stores/test_jwt_secret.py::test_a_foreign_edit_of_the_published_set_is_undone",
    ),
    Difference(
        id="jwt-rsa-length",
        dapr="RSA keys of any length sign tokens",
        ours="2048 bits at least",
        reason="RFC 7518, section 3.3",
        shown="tests/ca/test_jwt_tables.py::test_key_and_algorithm",
    ),
    Difference(
        id="jwt-ttl",
        dapr="`--jwt-ttl` may be zero or negative",
        ours="it has to be positive",
        reason="such tokens are never valid",
        seen={"status": ("serves", "exit code [12]"), "text": ("\\(absent\\)", ".*")},
    ),
    Difference(
        id="jwt-empty-issuer",
        dapr="an empty `--jwt-issuer` makes tokens with an empty `iss`",
        ours="tokens without `iss`",
        reason="verifiers reject an empty issuer",
        seen={"JWT .*: claims": ('.*"iss": "".*', ".+")},
    ),
)
