"""All kinds by name."""

from collections.abc import Mapping
from typing import Final

from . import costly, flooding, handshakes, hoarding
from .target import Kind

KINDS: Final[Mapping[str, Kind]] = {
    "silent TCP": handshakes.silent,
    "partial handshake": handshakes.partial_handshake,
    "announced ClientHello": handshakes.announced_hello,
    "slow handshake": handshakes.slow_handshake,
    "no preface": handshakes.no_preface,
    "garbage": handshakes.garbage,
    "reconnect storm": handshakes.handshake_and_gone,
    "half-closed": handshakes.half_closed,
    "half-closed after a call": handshakes.half_closed_after_call,
    "idle": hoarding.idle,
    "never reads": hoarding.never_reads,
    "slow writer": hoarding.slow_writer,
    "headers without a body": hoarding.headers_without_body,
    "zero window": hoarding.zero_window,
    "shared deadlines": hoarding.shared_deadlines,
    "endless responses": hoarding.endless_responses,
    "stops reading": hoarding.stops_reading,
    "unread bytes": hoarding.unread_bytes,
    "partial header block": hoarding.partial_header_block,
    "rapid reset": flooding.rapid_reset,
    "resets by the server": flooding.resets_by_server,
    "PING flood": flooding.pings,
    "SETTINGS flood": flooding.changed_settings,
    "empty DATA flood": flooding.empty_data,
    "CONTINUATION flood": flooding.continuations,
    "WINDOW_UPDATE flood": flooding.window_updates,
    "unknown frames": flooding.unknown_frames,
    "unknown methods": flooding.unknown_methods,
    "long messages announced": flooding.long_messages_announced,
    "gzip bombs": flooding.gzip_bombs,
    "gzip of nothing": flooding.gzip_of_nothing,
    "gzip of empty names": flooding.gzip_of_empty_names,
    "large header blocks": flooding.large_header_blocks,
    "small window updates": flooding.small_window_updates,
    "headers by reference": costly.headers_by_reference,
    "headers on reset streams": costly.headers_on_reset_streams,
    "repeated pseudo-headers": costly.pseudo_heads,
    "table size updates": costly.table_sizes,
    "bursts of calls": costly.call_bursts,
    "costly requests": costly.costly_requests,
    "tiny messages": costly.tiny_messages,
    "sparse requests": costly.sparse_requests,
}
"""Kinds that attack the gRPC port."""

HEALTH_KINDS: Final[Mapping[str, Kind]] = {
    "health: connect and close": costly.health_connects,
    "health: request and close": costly.health_short_requests,
    "health: partial request": costly.health_partial_requests,
}
"""Kinds that attack the health port."""
