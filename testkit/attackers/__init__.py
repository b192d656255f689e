"""Hostile peers: each kind opens one connection and misbehaves on it until it is cut or cancelled.

target.py       target, pace and result of an attack
http2.py        HTTP/2 without any of its rules, frame by frame
handshakes.py   kinds that never come to HTTP/2, or leave right after
hoarding.py     kinds that hold what they have got: streams, memory, answers
flooding.py     kinds that cause work without a use
costly.py       kinds that are cheap on the wire and expensive for the server
kinds.py        all kinds by name
attack.py       one attack, an attack again and again, many at once
__main__.py     a process full of them
composition.py  random attacks, from a seed
performance.py  a process that performs one
"""

from .attack import again, attack, attacking
from .kinds import HEALTH_KINDS, KINDS
from .target import Course, Kind, Pace, Target

__all__ = ["HEALTH_KINDS", "KINDS", "Course", "Kind", "Pace", "Target", "again", "attack", "attacking"]
