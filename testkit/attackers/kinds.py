"""All kinds by name."""

from collections.abc import Mapping
from typing import Final

from . import costly, flooding, handshakes, hoarding
from .target import Kind

KINDS: Final[Mapping[str, Kind]] = {
    "silent TCP": handshakes.silent,
    "half a handshake": handshakes.half_hello,
    "slow handshake": handshakes.slow_hello,
    "no preface": handshakes.no_preface,
    "garbage": handshakes.garbage,
    "reconnect storm": handshakes.handshake_and_gone,
    "half-closed": handshakes.half_closed,
    "half-closed after a call": handshakes.half_closed_after_call,
    "idle": hoarding.idle,
    "deaf": hoarding.deaf,
    "slow writer": hoarding.slow_writer,
    "heads only": hoarding.heads_only,
    "shut window": hoarding.shut_window,
    "endless replies": hoarding.endless_replies,
    "stops reading": hoarding.stops_reading,
    "unread bytes": hoarding.unread_bytes,
    "half a head": hoarding.half_a_head,
    "rapid reset": flooding.rapid_reset,
    "made resets": flooding.made_resets,
    "PING flood": flooding.pings,
    "SETTINGS flood": flooding.changed_settings,
    "empty DATA flood": flooding.empty_data,
    "CONTINUATION flood": flooding.continuations,
    "WINDOW_UPDATE flood": flooding.window_updates,
    "unknown frames": flooding.unknown_frames,
    "unknown methods": flooding.unknown_methods,
    "long lengths": flooding.long_lengths,
    "gzip bombs": flooding.gzip_bombs,
    "long heads": flooding.long_heads,
    "trickling window": flooding.trickling_window,
    "heads of references": costly.reference_heads,
    "heads on reset streams": costly.heads_on_reset_streams,
    "repeated pseudo-headers": costly.pseudo_heads,
    "table size updates": costly.table_sizes,
    "bursts of calls": costly.call_bursts,
    "tiny messages": costly.tiny_messages,
    "sparse requests": costly.sparse_requests,
}
"""Kinds that attack the gRPC port."""

HEALTH_KINDS: Final[Mapping[str, Kind]] = {
    "health: connect and close": costly.health_connects,
    "health: half a request": costly.health_holders,
}
"""Kinds that attack the health port."""
