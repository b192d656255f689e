"""What kubernetes mode looks at before it asks anybody."""

import pytest

from sentry_trio.environments.kubernetes import refuse_root
from sentry_trio.errors import InvalidOptionsError


def test_root_is_refused() -> None:
    with pytest.raises(InvalidOptionsError, match=r"current user UID\(0\) is root"):
        refuse_root({}, 0)


@pytest.mark.parametrize(("environ", "uid"), [({}, 65532), ({"DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true"}, 0)])
def test_others_are_not(environ: dict[str, str], uid: int) -> None:
    refuse_root(environ, uid)


@pytest.mark.parametrize("value", ["", "1", "True", "false"])
def test_only_the_word_true_lets_root_pass(value: str) -> None:
    with pytest.raises(InvalidOptionsError):
        refuse_root({"DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": value}, 0)
