"""Differences in the jwks validator."""

from typing import Final

from .entry import Difference

ENTRIES: Final = (
    Difference(
        id="jwks-away",
        dapr="an unreachable source, or bad content, ends the process at start and at every reload",
        ours="the process is not ready, callers get Unavailable, and it recovers by itself",
        reason="an outage of the source does not stop the CA",
        shown="tests/test_jwks_process.py::test_a_source_that_is_away_at_first",
    ),
    Difference(
        id="jwks-missing-file",
        dapr="an absolute path without a file is read as a key set, and rejected",
        ours="waited for",
        reason="files may arrive later",
        shown="tests/environments/test_jwks.py::test_absolute_paths",
    ),
    Difference(
        id="jwks-refresh",
        dapr="refreshes every 15 minutes at most",
        ours="when they are due; an unknown `kid` causes one, every 10 s at most",
        reason="a new key works at once",
        shown="tests/validators/jwks/test_keyset.py::test_an_unknown_key_has_the_set_read_once_for_all",
    ),
    Difference(
        id="jwks-redirects",
        dapr="a redirect from https to http is followed",
        ours="rejected",
        reason="an attacker on the network cannot replace the keys",
        shown="tests/validators/jwks/test_fetching.py::test_no_redirect_leads_away_from_tls",
    ),
    Difference(
        id="jwks-expiry",
        dapr="tokens without `exp` never expire",
        ours="rejected unless `allowTokensWithoutExpiry` is true",
        reason="a stolen token expires",
        shown="tests/validators/jwks/test_validator.py::test_a_token_without_end_where_that_is_allowed",
    ),
    Difference(
        id="jwks-algorithms",
        dapr="the `alg` of a token may differ from that of its key",
        ours="it has to be",
        reason="no algorithm confusion",
        shown="tests/tokens/test_keys.py::test_a_key_s_own_algorithm_is_the_only_one",
    ),
    Difference(
        id="jwks-times",
        dapr="times of a token may be in milliseconds, so it expires in thousands of years",
        ours="no later than the year 9999",
        reason="a wrong unit is an error",
        shown="tests/validators/jwks/test_validator.py::test_claims_within_bounds",
    ),
    Difference(
        id="jwks-ambiguity",
        dapr="a token may have duplicate names, and base64url with stray bits",
        ours="rejected",
        reason="all readers understand a token alike",
        shown="tests/validators/jwks/test_hostile.py::test_ambiguous_tokens_are_rejected",
    ),
    Difference(
        id="jwks-bounds",
        dapr="tokens and keys of any size",
        ours="16 KiB a token, no `crit`; RSA keys of 2048 to 8192 bits; 256 keys; no `HS*` secrets from a URL",
        reason="no caller can make the CA work for nothing",
        shown="tests/validators/jwks/test_validator.py::test_size_is_bounded",
    ),
)
