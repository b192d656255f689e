"""Dapr Sentry as a contender of the benchmark."""

from pathlib import Path

from benchmarks.contenders import SENTRY
from tests.benchmarks.conftest import credentials
from tests.benchmarks.test_contenders import assert_answers

__all__ = ["credentials"]


def test_dapr_sentry_answers_the_load_client(dapr_sentry: Path, load_client: Path, credentials: Path) -> None:
    assert_answers(SENTRY, load_client, credentials)
