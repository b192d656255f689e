"""The list of differences: each entry is observed by the comparison, or shown by a test that exists."""

import ast
from functools import cache
from pathlib import Path

import pytest

from testkit.dapr.differences import BY_ID, DIFFERENCES
from testkit.dapr.differences.entry import Difference

from . import (
    test_command_line,
    test_configuration,
    test_credentials,
    test_csr,
    test_foreign_certificates,
    test_generated,
    test_health_and_metrics,
    test_jwt,
    test_oidc,
    test_sign,
)
from .comparing import Seen, compare

ROOT = Path(__file__).parents[2]
ALWAYS_SEEN: dict[str, tuple[str, ...]] = {
    "test_series": test_health_and_metrics.ALWAYS_SEEN,
    "test_generated": test_generated.ALWAYS_SEEN,
}
TABLES: dict[str, tuple[Seen, set[str]]] = {
    "command line": (test_command_line.SEEN, {*test_command_line.ENDING, *test_command_line.ACCEPTED}),
    "configuration": (test_configuration.SEEN, {*test_configuration.CASES}),
    "credentials": (test_credentials.SEEN, {*test_credentials.ALL}),
    "csr": (test_csr.SEEN, {*test_csr.ALL}),
    "foreign certificates": (
        test_foreign_certificates.SEEN,
        {*test_foreign_certificates.CERTIFICATES, *test_foreign_certificates.REQUESTS},
    ),
    "health": (test_health_and_metrics.SEEN, {*test_health_and_metrics.HEALTH}),
    "jwt": (test_jwt.SEEN, {*test_jwt.AUDIENCES, *test_jwt.SIGNINGS}),
    "oidc": (
        test_oidc.SEEN,
        {f"{setting}: {case}" for setting in test_oidc.SETTINGS for case in test_oidc.CASES},
    ),
    "sign": (test_sign.SEEN, {*test_sign.CASES}),
}


@cache
def _tests_in(path: Path) -> frozenset[str]:
    nodes = ast.parse(path.read_text()).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_each_has_an_id_of_its_own() -> None:
    assert len(BY_ID) == len(DIFFERENCES)


@pytest.mark.parametrize("entry", DIFFERENCES, ids=lambda entry: entry.id)
def test_each_is_shown(entry: Difference) -> None:
    """A case that names a difference fails if it does not see it, so a named difference is not a stale entry."""
    assert entry.dapr
    assert entry.ours
    assert entry.reason
    named = {identity for seen, _ in TABLES.values() for identity in seen}
    named |= {identity for identities in ALWAYS_SEEN.values() for identity in identities}
    if entry.seen:
        assert not entry.shown
        assert entry.id in named
    else:
        path, _, test = entry.shown.partition("::")
        assert test in _tests_in(ROOT / path)


@pytest.mark.parametrize("table", TABLES)
def test_tables_name_entries_and_cases_that_exist(table: str) -> None:
    seen, cases = TABLES[table]
    assert seen.keys() <= BY_ID.keys()
    assert {case for names in seen.values() for case in names} <= cases


def test_an_unlisted_difference_fails() -> None:
    with pytest.raises(AssertionError, match=r"not listed.*\n  status:\n    Dapr: 'OK'\n    ours: 'INTERNAL'"):
        compare({"status": "OK"}, {"status": "INTERNAL"}, differs=["invalid-identity"])


def test_a_difference_that_is_gone_fails() -> None:
    with pytest.raises(AssertionError, match=r"not seen any more.*invalid-identity"):
        compare({"status": "OK"}, {"status": "OK"}, differs=["invalid-identity"])


def test_a_field_missing_on_either_side_is_a_difference() -> None:
    with pytest.raises(AssertionError, match="absent"):
        compare({"status": "OK", "jwt": "a"}, {"status": "OK"})


def test_a_listed_difference_passes() -> None:
    refused = {"status": "INVALID_ARGUMENT", "text": "app ID: bad"}
    compare({"status": "INTERNAL", "text": "failed to sign certificate"}, refused, differs=["invalid-identity"])
