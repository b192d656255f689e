"""What is given up when too much is held."""

from sentry_trio.grpc.holdings import Holdings


class Holder:
    def __init__(self, holdings: Holdings, name: str, given_up: list[tuple[str, int]]) -> None:
        self.holdings, self.name, self.given_up = holdings, name, given_up

    def hold(self, stream_id: int, size: int) -> None:
        self.holdings.total += size
        self.holdings.begin(self, stream_id)

    def give_up(self, stream_id: int) -> None:
        self.given_up.append((self.name, stream_id))
        self.holdings.total -= 40


def test_the_oldest_incomplete_requests_go_first_whosever_they_are() -> None:
    holdings, given_up = Holdings(100), list[tuple[str, int]]()
    one, other = Holder(holdings, "one", given_up), Holder(holdings, "other", given_up)
    one.hold(1, 40)
    other.hold(1, 40)
    one.hold(3, 40)
    holdings.end(one, 1)  # it is whole, and stays
    assert holdings.relieve()
    assert given_up == [("other", 1)]
    assert holdings.total == 80


def test_what_is_whole_is_not_given_up() -> None:
    holdings, given_up = Holdings(100), list[tuple[str, int]]()
    one = Holder(holdings, "one", given_up)
    for stream_id in (1, 3, 5, 7):
        one.hold(stream_id, 40)
        if stream_id != 5:
            holdings.end(one, stream_id)
    assert not holdings.relieve()
    assert given_up == [("one", 5)]
    assert holdings.total == 120


def test_within_the_bound_nothing_is_given_up() -> None:
    holdings, given_up = Holdings(100), list[tuple[str, int]]()
    Holder(holdings, "one", given_up).hold(1, 100)
    assert holdings.relieve()
    assert given_up == []
