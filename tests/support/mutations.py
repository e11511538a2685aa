"""Damage as it happens, and as somebody might do it: to bytes, and to what JSON and YAML say."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

NASTY_BYTES = (
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b"{",
    b"[" * 1000,
    b"9" * 400,
    b"\x80" * 8,
    b"\xff" * 8,
    b"NaN",
    b"&a",
    b"*a",
)
NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 10**30, -(10**30), 2**31, 2**63, 0.5, -0.5, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "1", "true", "nan", "../x", "a\x00b", "\ud800", "é" * 300),
    *([], {}, [0], [None], [[]], {"": 0}, {"x": {}}, [1] * 3, "os:system", "./none.py:Space", "20ms"),
)


def damaged(content: bytes, random: Random) -> bytes:
    """The bytes with one to three things done to them: flipped, cut, repeated, put in, taken out."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        start = random.randrange(len(changed) + 1)
        stop = min(len(changed), start + random.choice((1, 1, 4, 16, 256)))
        kind = random.choice(("flip", "flip", "overwrite", "insert", "delete", "repeat", "cut", "zero"))
        if kind == "flip" and stop > start:
            changed[start] ^= 1 << random.randrange(8)
        elif kind == "overwrite":
            changed[start:stop] = bytes(random.randrange(256) for _ in range(stop - start))
        elif kind == "insert":
            changed[start:start] = random.choice(NASTY_BYTES)
        elif kind == "delete":
            del changed[start:stop]
        elif kind == "repeat":
            changed[stop:stop] = changed[start:stop] * random.choice((1, 1, 50))
        elif kind == "cut":
            del changed[start:]
        else:
            changed[start:stop] = bytes(stop - start)
    return bytes(changed)


def distorted(content: Any, random: Random) -> Any:
    """What a file says with one to three values or names changed, taken out, repeated or nested."""
    changed = copy.deepcopy(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return random.choice(NASTY_VALUES)
        _distort(*random.choice(places), random)
    return changed


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every list or mapping with every place in it; of long lists some."""
    found: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        found += [(content, key) for key in content]
    elif isinstance(content, list):
        found += [(content, place) for place in range(min(len(content), 3))]
    for owner, place in list(found):
        found += _places(owner[place])
    return found


def _distort(owner: Any, place: Any, random: Random) -> None:
    value = owner[place]
    kind = random.choice(("swap", "swap", "swap", "remove", "nest", "number", "rename", "repeat"))
    if kind == "remove":
        del owner[place]
    elif kind == "nest":
        for _ in range(random.choice((1, 200))):
            value = [value]
        owner[place] = value
    elif kind == "number" and isinstance(value, int | float):
        owner[place] = random.choice((-value, value + 1, 1000 * value, value / 1000, str(value), bool(value)))
    elif kind == "rename" and isinstance(owner, dict):
        owner[random.choice(("", "x", "1", *owner))] = owner.pop(place)
    elif kind == "repeat" and isinstance(owner, list):
        owner.insert(place, copy.deepcopy(value))
    else:
        owner[place] = copy.deepcopy(random.choice(NASTY_VALUES))


def as_text(content: Any, random: Random) -> bytes:
    """JSON, which YAML is too; sometimes with a name that is there twice."""
    text = json.dumps(content)
    if random.random() < 0.1 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + "," + text[1:]
    return text.encode()
