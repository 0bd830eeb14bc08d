"""Making hostile files of valid ones: bytes, text, and DICOM with its structure known."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

MOST_BYTES = 200_000
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_LONG_VR = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_VR = (*_LONG_VR, b"AT", b"CS", b"DA", b"DS", b"IS", b"LO", b"PN", b"UI", b"US", b"SS", b"FD", b"ZZ", b"\0\0")
_UNDEFINED = 0xFFFFFFFF
_TOKENS = (
    *("nan", "inf", "-1", "1e999", "0", "9" * 5000, "true", "null", "None", "''", '""', "\0", "\ufeff", "\u2028"),
    *(",", ";", "\t", '"', "'", "\r", "\n", "\r\n", "\\", "/", "../../etc/passwd", "C:\\x", "=1+1", "%s", "{}"),
    *("[", "]", "{", "}", ":", "=", "#", "[[", "a.b.c=1\n", '"""', "covid", "cxr", "ct", "yes", "train", "test"),
    *("[" * 2000, "{" * 2000, '{"a":' * 2000, "a." * 2000, "\ud7ff", "1979-05-27T07:32:00Z", "0x10", "1_000"),
)


def mutate_binary(rng: Random, content: bytes) -> bytes:
    """Change, remove, repeat and insert bytes; the first ones, where headers stand, as often as the rest."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8, 16))):
        size = len(changed)
        if not size:
            return bytes(rng.randbytes(rng.randrange(64)))
        place = rng.randrange(min(size, 256) if rng.random() < 0.5 else size)
        _BYTE_CHANGES[rng.randrange(len(_BYTE_CHANGES))](rng, changed, place)
    return bytes(changed[:MOST_BYTES])


def _one_byte(rng: Random, content: bytearray, place: int) -> None:
    content[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _one_bit(rng: Random, content: bytearray, place: int) -> None:
    content[place] ^= 1 << rng.randrange(8)


def _number(rng: Random, content: bytearray, place: int) -> None:
    form = rng.choice(("<H", ">H", "<I", ">I"))
    mask = 0xFFFF if form[1] == "H" else 0xFFFFFFFF
    packed = struct.pack(form, rng.choice(_NUMBERS) & mask)
    content[place : place + len(packed)] = packed


def _remove(rng: Random, content: bytearray, place: int) -> None:
    del content[place : place + rng.choice((1, 2, 4, 16, 100))]


def _cut(_rng: Random, content: bytearray, place: int) -> None:
    del content[place:]


def _repeat(rng: Random, content: bytearray, place: int) -> None:
    part = bytes(content[place : place + rng.choice((1, 4, 16, 200))])
    content[place:place] = part * rng.choice((1, 2, 50))


def _move(rng: Random, content: bytearray, place: int) -> None:
    start = rng.randrange(len(content))
    content[place:place] = content[start : start + rng.choice((4, 16, 100))]


_BYTE_CHANGES: tuple[Callable[[Random, bytearray, int], None], ...] = (
    *(_one_byte, _one_bit, _number, _one_byte, _one_bit, _number),
    *(_remove, _cut, _repeat, _move),
)


def mutate_text(rng: Random, content: bytes) -> bytes:
    """Insert words that mean something, repeat and remove lines, or change bytes."""
    if rng.random() < 0.3:
        return mutate_binary(rng, content)
    lines = content.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        number = rng.randrange(len(lines))
        line, token = lines[number], rng.choice(_TOKENS).encode()
        place = rng.randrange(len(line) + 1)
        until = place + rng.choice((0, 0, 1, 5, len(line)))
        change = rng.random()
        if change < 0.7:
            lines[number] = line[:place] + token + line[until:]
        elif change < 0.85:
            lines.insert(rng.randrange(len(lines) + 1), line)
        elif len(lines) > 1:
            del lines[number]
    return b"\n".join(lines)[:MOST_BYTES]


class _Element(NamedTuple):
    """Where one element of an explicit little-endian data set lies."""

    start: int
    vr: bytes
    value: int
    end: int


def mutate_dicom(rng: Random, content: bytes) -> bytes:
    """Lie about lengths and representations, nest, repeat, drop and swap elements, set numbers, or change bytes."""
    elements = _elements(content)
    if rng.random() < 0.35 or not elements:
        return mutate_binary(rng, content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(_ELEMENT_CHANGES)(rng, content, rng.choice(elements), elements)
        elements = _elements(content)
        if not elements:
            break
    return content[:MOST_BYTES]


def _elements(content: bytes) -> list[_Element]:
    """The elements of the outermost data set, as far as they can be followed; pixel data are the last."""
    found, place = [], 132 if content[128:132] == b"DICM" else 0
    while place + 12 <= len(content) and len(found) < 500:
        vr = content[place + 4 : place + 6]
        if not (vr.isalpha() and vr.isupper()):
            break
        if vr in _LONG_VR:
            value, length = place + 12, struct.unpack_from("<I", content, place + 8)[0]
        else:
            value, length = place + 8, struct.unpack_from("<H", content, place + 6)[0]
        end = len(content) if length == _UNDEFINED else min(len(content), value + length)
        found.append(_Element(place, vr, value, end))
        place = end
    return found


def _lie_about_length(rng: Random, content: bytes, one: _Element, _all: list[_Element]) -> bytes:
    form, place = ("<I", one.value - 4) if one.vr in _LONG_VR else ("<H", one.value - 2)
    lie = rng.choice((*_NUMBERS, one.end - one.value + rng.choice((-2, -1, 1, 2, 8))))
    return _replaced(content, place, struct.pack(form, lie & (0xFFFFFFFF if form == "<I" else 0xFFFF)))


def _other_vr(rng: Random, content: bytes, one: _Element, _all: list[_Element]) -> bytes:
    return _replaced(content, one.start + 4, rng.choice(_VR))


def _other_tag(rng: Random, content: bytes, one: _Element, every: list[_Element]) -> bytes:
    other = rng.choice(every).start
    group, element = rng.choice(_NUMBERS) & 0xFFFF, rng.choice(_NUMBERS) & 0xFFFF
    tag = rng.choice((content[other : other + 4], struct.pack("<HH", group, element)))
    return _replaced(content, one.start, tag)


def _other_value(rng: Random, content: bytes, one: _Element, every: list[_Element]) -> bytes:
    donor = rng.choice(every)
    values = (
        content[donor.value : donor.end],
        struct.pack("<H", rng.choice(_NUMBERS) & 0xFFFF),
        struct.pack("<I", rng.choice(_NUMBERS)),
        b"\\".join([b"1"] * rng.choice((2, 100, 10_000))),
        rng.choice(
            (b"-1", b"1e99", b"nan", b"99999999999", b"\xff\xfe", b"CT", b"CR", b"MONOCHROME1", b"PALETTE COLOR")
        ),
        rng.randbytes(rng.choice((0, 1, 7, 64))),
    )
    return _with_value(content, one, rng.choice(values))


def _nest(rng: Random, content: bytes, one: _Element, _all: list[_Element]) -> bytes:
    """The element inside sequences of undefined length, inside each other."""
    depth = rng.choice((1, 5, 300, 1500))
    sequence = content[one.start : one.start + 4] + b"SQ\0\0" + struct.pack("<I", _UNDEFINED)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    inner = content[one.start : one.end] if one.end - one.start < 5000 else b""
    closed = ends * depth if rng.random() < 0.7 else b""
    return content[: one.start] + (sequence + item) * depth + inner + closed + content[one.end :]


def _drop(_rng: Random, content: bytes, one: _Element, _all: list[_Element]) -> bytes:
    return content[: one.start] + content[one.end :]


def _again(rng: Random, content: bytes, one: _Element, _all: list[_Element]) -> bytes:
    part = content[one.start : one.end]
    return content[: one.end] + part * rng.choice((1, 20) if len(part) < 5000 else (1,)) + content[one.end :]


def _damage_value(rng: Random, content: bytes, one: _Element, _all: list[_Element]) -> bytes:
    return content[: one.value] + mutate_binary(rng, content[one.value : one.end]) + content[one.end :]


def _damage_pixels(rng: Random, content: bytes, _one: _Element, every: list[_Element]) -> bytes:
    last = every[-1]
    return content[: last.value] + mutate_binary(rng, content[last.value : last.end]) + content[last.end :]


def _replaced(content: bytes, place: int, part: bytes) -> bytes:
    return content[:place] + part + content[place + len(part) :]


def _with_value(content: bytes, one: _Element, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if one.vr in _LONG_VR:
        head = content[one.start : one.start + 8] + struct.pack("<I", len(value))
    else:
        value = value[:0xFFFE]
        head = content[one.start : one.start + 6] + struct.pack("<H", len(value))
    return content[: one.start] + head + value + content[one.end :]


_ELEMENT_CHANGES = (
    *(_lie_about_length, _other_vr, _other_tag, _other_value, _other_value, _nest),
    *(_drop, _again, _damage_value, _damage_pixels, _damage_pixels),
)
