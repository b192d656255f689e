"""Random attackers: the same from the same seed, and a server that survives some of them."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.hostile_random import Arena, smaller
from testkit.attackers.composition import HTTP_RECIPES, RECIPES, Actor, Composition, Piece, Streams, burst, compose
from testkit.credentials import KubeletVolume, two_issuers
from testkit.subject import subject

SEED = 20


def test_a_seed_and_a_number_make_a_composition() -> None:
    assert [compose(SEED, number) for number in range(50)] == [compose(SEED, number) for number in range(50)]
    assert compose(SEED, 1) != compose(SEED, 2)
    assert compose(SEED, 1) != compose(SEED + 1, 1)
    encoded = msgspec.json.encode(compose(SEED, 1))
    assert msgspec.json.decode(encoded, type=Composition) == compose(SEED, 1)


def test_every_recipe_is_composed_and_made() -> None:
    composed = {
        (actor.health, piece.recipe)
        for number in range(1000)
        for actor in compose(SEED, number).actors
        for piece in actor.pieces
    }
    assert composed == {(True, name) for name in HTTP_RECIPES} | {(False, name) for name in RECIPES}
    for health, name in composed:
        for amount in (0, 1, 16_000):
            actor = _actor(Piece(name, amount), health=health)
            first, second = (burst(actor, Streams(), "/a.B/C", b"message") for _ in range(2))
            assert first == second


def test_a_composition_is_reduced_by_attackers_and_by_pieces() -> None:
    pieces = [Piece("PING", 1), Piece("SETTINGS", 1)]
    whole = Composition(SEED, 0, [_actor(*pieces), _actor(pieces[0])])
    assert [[len(actor.pieces) for actor in each.actors] for each in smaller(whole)] == [[1], [2], [1, 1], [1, 1]]
    assert list(smaller(Composition(SEED, 0, [_actor(pieces[0])]))) == []


@pytest.mark.soak
def test_a_server_survives_random_attackers(tmp_path: Path, load_client: Path) -> None:
    """Bounds on turns and probes are left to `make hostile-random`: they depend on the machine."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    KubeletVolume(credentials, two_issuers()[0])
    with subject(credentials) as target:
        arena = Arena(load_client, target, credentials, seconds=0.5)
        outcomes = [arena.try_out(compose(SEED, number)) for number in range(12)]
        target.state()
        target.stop()
        complaints = [record for record in target.process.records if record["level"] in {"error", "fatal"}]
    assert complaints == []
    assert [outcome.calls.kept.failures for outcome in outcomes] == [0] * 12
    assert max(outcome.usage.rss_peak_mib for outcome in outcomes) < 150


def _actor(*pieces: Piece, health: bool = False) -> Actor:
    return Actor(
        health=health,
        transport="TLS 1.3",
        connections=1,
        bursts=0,
        reads=True,
        key_updates=0,
        settings=[],
        pieces=list(pieces),
    )
