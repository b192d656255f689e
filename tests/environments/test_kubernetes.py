"""Checks of Kubernetes mode before its first request to the API server."""

import pytest

from sentry_trio.environments.kubernetes import refuse_root
from sentry_trio.errors import InvalidOptionsError

SKIP = "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK"


@pytest.mark.parametrize(
    ("environ", "uid", "text"),
    [
        ({}, 65532, None),
        ({SKIP: "false"}, 65532, None),
        ({SKIP: "true"}, 0, None),
        ({}, 0, "current user UID(0) is root"),
        *(({SKIP: value}, 0, f"set the environment variable '{SKIP}=true'") for value in ("", "1", "True", "false")),
    ],
)
def test_root_is_refused_unless_the_check_is_skipped(environ: dict[str, str], uid: int, text: str | None) -> None:
    refusal = ""
    try:
        refuse_root(environ, uid)
    except InvalidOptionsError as error:
        refusal = str(error)
    assert text in refusal if text else refusal == ""
