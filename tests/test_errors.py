"""Tables of errors: the entry of the nearest base class counts."""

from sentry_trio.errors import (
    IncompleteBundleError,
    MalformedRequestError,
    NotPermittedError,
    SentryError,
    StoreError,
    entry_for,
)


class UnknownStoreError(IncompleteBundleError):
    """A subclass that no table knows."""


def test_a_subclass_has_the_entry_of_its_nearest_base_class() -> None:
    table = {SentryError: 0, StoreError: 1, NotPermittedError: 2, MalformedRequestError: 3}
    assert entry_for(table, UnknownStoreError((), ())) == 1
    assert entry_for(table, MalformedRequestError("")) == 3
    assert entry_for(table, NotPermittedError("")) == 2
    assert entry_for(table, SentryError("")) == 0
