"""A referring expression taken apart: head noun, colours, sizes, places, relation and anchor. A pure parser.

It knows closed classes and a few hundred words (`annotators.language.lexicon`) and takes every other word as a noun.
That reads "the small red mug to the left of the bowl" exactly; it is no grammar of English and does not try to be.
"""

import re
from dataclasses import dataclass

from annotators.language import lexicon as words
from annotators.language.word_forms import (
    NOUNS_TOO,
    can_be_noun,
    colour_names,
    is_modifier,
    is_participle,
    is_partitive,
    looks_plural,
    noun_after_noun,
    singular,
)

TOKEN = re.compile(r"[a-z][a-z'-]*|\d+")

BARE: frozenset[str] = words.word_set("nearest farthest leftmost rightmost topmost bottommost")
"""Places that need no "on the" before them behind a noun."""
SURFACES: frozenset[str] = words.word_set("desk floor ground shelf table tabletop wall")
"""What nearly everything stands on: another relation in the same phrase says more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseParts:
    """What a phrase says about its target.

    `head` is the singular head noun ("" when there is none). `colours` belong to the target itself, `part_colours` to
    something it wears, holds or has; each is a name of `lexicon.COLOURS`, perhaps after "dark" or "light", or one of
    these alone. `sizes` and `places` are values of the lexicon in the order read. `relation` and `anchor` hold the
    first spatial relation and the noun phrase it refers to. `count` is the number said ("both" is 2).
    """

    head: str
    colours: tuple[str, ...] = ()
    part_colours: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    relation: str = ""
    anchor: str = ""
    plural: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A run of modifiers and nouns: tokens `start` to `end`, the head being the last noun."""

    end: int
    head: str
    modifiers: tuple[str, ...]


def read_phrase(text: str) -> PhraseParts:
    """Take `text`, a noun phrase as an English speaker would write it, apart.

    >>> parts = read_phrase("the small red mug to the left of the white plate")
    >>> parts.head, parts.colours, parts.sizes, parts.relation, parts.anchor
    ('mug', ('red',), ('small',), 'left of', 'white plate')
    >>> read_phrase("both dark green bottles in the lower right corner").places
    ('bottom', 'right')
    """
    tokens = tokenize(text)
    position, every, count = _quantity(tokens)
    chunk = _chunk(tokens, position)
    modifiers = list(chunk.modifiers)
    head, end = chunk.head, chunk.end
    while is_partitive(head) and tokens[end : end + 1] == ["of"]:
        inner_start, _, inner_count = _quantity(tokens, end + 1)
        inner = _chunk(tokens, inner_start)
        if not inner.head:
            break
        if head in ("pair", "couple") and count is None:
            count = 2
        if head != "one" and head:  # "one of the two mugs" is one mug
            count = count or inner_count
            every = every or (
                head not in ("slice", "piece", "part", "side") and looks_plural(inner.head)
            )
        modifiers += inner.modifiers
        head, end = singular(inner.head) if not every else inner.head, inner.end
    found = _Found(*_attributes(modifiers, head))
    _read_rest(tokens, end, found)
    several = every or (count or 0) > 1 or looks_plural(head) or _joined(tokens, end)
    return PhraseParts(
        head=singular(head),
        colours=_once(found.colours),
        part_colours=_once(found.part_colours),
        sizes=_once(found.sizes),
        materials=_once(found.materials),
        places=_once(found.places),
        relation=found.relation,
        anchor=found.anchor,
        plural=several,
        count=count,
    )


def tokenize(text: str) -> list[str]:
    """Lower-case words and numbers of `text`; typographic apostrophes become plain ones."""
    return TOKEN.findall(text.lower().replace("’", "'").replace("–", "-"))


def noun_run_end(tokens: list[str], start: int) -> int:
    """Position behind the determiners, modifiers and nouns that stand at `start`, small prepositions in between.

    >>> noun_run_end(tokenize("the red mug is on the table"), 0)
    3
    """
    i = start
    while i < len(tokens) and tokens[i] in (
        "front",
        "top",
        "the",
        "left",
        "right",
        "next",
        "to",
        "by",
        "of",
    ):
        i += 1
    end = _chunk(tokens, _quantity(tokens, i)[0]).end
    return end if end > i else max(i, end)


@dataclass(slots=True)
class _Found:
    """What the reading has gathered so far."""

    colours: list[str]
    sizes: list[str]
    materials: list[str]
    places: list[str]
    part_colours: list[str]
    relation: str = ""
    anchor: str = ""


def _quantity(tokens: list[str], start: int = 0) -> tuple[int, bool, int | None]:
    """Skip determiners and numbers; returns the next position, whether all are meant, and the number said."""
    every, count, i = False, None, start
    while i < len(tokens):
        word = tokens[i]
        if word in ("all", "every", "each"):
            every = True
        elif word == "both":
            every, count = True, 2
        elif word in words.NUMBERS:
            count = words.NUMBERS[word]
        elif word == "of" and i > start:
            pass  # "all of the", "two of the"
        elif word not in words.DETERMINERS or word in ("which", "whose"):
            break
        i += 1
    return i, every or tokens[i : i + 1] in (["everyone"], ["everybody"], ["everything"]), count


def _chunk(tokens: list[str], start: int) -> _Chunk:
    """The run of modifiers and nouns from `start` on."""
    modifiers: list[str] = []
    nouns: list[str] = []
    i = start
    while i < len(tokens):
        word = tokens[i]
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if word.endswith(("'s", "s'")):  # the owner is not the target
            modifiers, nouns = [], []
        elif word == "and" and not nouns and i > start and colour_names(tokens[i - 1]):
            pass  # "a black and white cat"
        elif (
            (word in words.STOPS and not (word in words.PLACES and _continues(following)))
            or (word in words.VERBS and (nouns or word not in NOUNS_TOO))
            or (nouns and word in words.DETERMINERS)
        ):
            break
        elif is_modifier(word):
            if nouns and not noun_after_noun(word):
                break
            modifiers.append(word)
            if nouns or (can_be_noun(word) and not _continues(following)):
                nouns.append(word)
        else:
            nouns.append(word)
            modifiers += [w for w in colour_names(word) if word not in words.COLOURS and w]
        i += 1
    head = nouns[-1] if nouns else ""
    return _Chunk(i, head, tuple(modifiers))


def _continues(word: str) -> bool:
    """Whether a noun phrase can go on with `word`."""
    return (
        bool(word)
        and word not in words.STOPS
        and (word not in words.VERBS or word in NOUNS_TOO)
        and word not in words.DETERMINERS
        and (word in words.MATERIALS or not is_participle(word))
    )


def _attributes(
    modifiers: list[str], head: str
) -> tuple[list[str], list[str], list[str], list[str], list[str]]:
    """Colours, sizes, materials and places among the words before a head, and the colours of parts."""
    colours: list[str] = []
    of_parts: list[str] = []
    shade = ""
    for word in modifiers:
        if "-" in word and word.endswith("ed") and not word.endswith(("coloured", "colored")):
            of_parts += colour_names(word)  # "grey-haired"
            continue
        if word in words.SHADES and word != head:
            shade = words.SHADES[word]
            if shade:
                colours.append(shade)
            continue
        for name in colour_names(word):
            if shade and colours[-1:] == [shade]:
                colours.pop()
            colours.append(f"{shade} {name}" if shade and " " not in name else name)
        shade = ""
    sizes = [words.SIZES[w] for w in modifiers if w in words.SIZES and w != head]
    materials = [w for w in modifiers if w in words.MATERIALS and w != head]
    places = [words.PLACES[w] for w in modifiers if w in words.PLACES and w != head]
    return colours, sizes, materials, places, of_parts


def _read_rest(tokens: list[str], position: int, found: _Found) -> None:
    """Read what stands behind the head noun: places, things worn or held, the first relation and its anchor."""
    i = position
    if (
        tokens[i : i + 1] and tokens[i] in words.DETERMINERS
    ):  # "the thing the man in blue is holding"
        start, _, _ = _quantity(tokens, i)
        found.relation, found.anchor = "beside", " ".join(tokens[start : _chunk(tokens, start).end])
        return
    while i < len(tokens):
        place = _place(tokens, i)
        if place is not None:
            i, names = place
            found.places += names
            continue
        name, length = _relation(tokens, i)
        if length < 2 and tokens[i] in ("wearing", "with", "holding", "in", "dressed", "carrying"):
            start, _, _ = _quantity(tokens, i + 1)
            if (
                tokens[i] == "in"
                and start == i + 1
                and colour_names("".join(tokens[start : start + 1]))
            ):
                found.part_colours += colour_names(tokens[start])  # "the player in white"
                i = start + 1
                continue
            worn = _chunk(tokens, start)
            colours, *_ = _attributes(list(worn.modifiers), worn.head)
            if tokens[i] != "in" or singular(worn.head) in words.CLOTHES or not worn.head:
                found.part_colours += colours
                i = max(worn.end, i + 1)
                continue
        if not name:
            i += 1
            continue
        start, _, _ = _quantity(tokens, i + length)
        anchor = _chunk(tokens, start)
        weak = not found.relation or found.anchor.rpartition(" ")[2] in SURFACES
        useful = name not in ("of", "with") and anchor.head not in ("", *words.PICTURE)
        if weak and useful:
            found.relation, found.anchor = name, " ".join(tokens[start : anchor.end])
        i = max(anchor.end, i + length)


def _place(tokens: list[str], i: int) -> tuple[int, list[str]] | None:
    """A place in the picture that starts at `i`: "on the far left side", "at the lower right", "in front".

    Returns:
        The position behind it and the places it names; None when there is none, as in "left of the plate".
    """
    start = i
    extreme = tokens[i + 1 : i + 4]
    if tokens[i] in ("farthest", "furthest") and extreme in (
        ["to", "the", "left"],
        ["to", "the", "right"],
    ):
        return i + 4, [f"{extreme[2]}most"]
    if tokens[i] in words.PLACES and words.PLACES[tokens[i]] not in BARE:
        return None  # "turning its head back"
    if tokens[i] in (
        "on",
        "at",
        "in",
        "to",
        "from",
        "near",
        "along",
        "toward",
        "towards",
        "off",
        "out",
        "up",
    ):
        i += 1
    if i > start and tokens[i : i + 1] == ["to"]:
        i += 1
    if tokens[i : i + 1] and tokens[i] in ("the", "your", "our"):
        i += 1
    while tokens[i : i + 1] and tokens[i] in ("far", "very", "extreme", "right", "row"):
        nothing_follows = i + 1 >= len(tokens) or tokens[i + 1] not in words.PLACES
        if tokens[i] == "right" and (nothing_follows or i == start):
            break
        if tokens[i] == "far" and tokens[i + 1 : i + 2] in (["end"], ["side"], ["off"], ["away"]):
            return i + 2, ["far"]
        i += 1
    names: list[str] = []
    while i < len(tokens) and tokens[i] in words.PLACES:
        names.append(words.PLACES[tokens[i]])
        i += 1
        while tokens[i : i + 1] and tokens[i] in ("hand", "most", "of-centre"):
            i += 1
    if not names:
        return None
    if start > 0 and tokens[start] in ("right", "left") and len(names) == 1:
        before, following = tokens[start - 1], tokens[i] if i < len(tokens) else ""
        if before in ("been", "was", "is", "are") or following in (
            "in",
            "behind",
            "next",
            "beside",
            "by",
        ):
            return None  # "left beside the bowl", "right in front of the porch"
    while tokens[i : i + 1] and tokens[i] in (
        "side", "end", "edge", "corner", "part", "half", "row", "rim", "area", "hand", "shelf",
    ):  # fmt: skip
        i += 1
        if tokens[i : i + 1] == ["of"]:
            after, _, _ = _quantity(tokens, i + 1)
            return _chunk(tokens, after).end, names
    if tokens[i : i + 1] in (["of"], ["to"]):
        after, _, _ = _quantity(tokens, i + 1)
        chunk = _chunk(tokens, after)
        inside = chunk.head in words.PICTURE or names == ["middle"] or tokens[start] == "at"
        if tokens[i] == "of" and not inside:
            return None
        if tokens[i] == "to" and tokens[after : after + 1] not in ([w] for w in words.PICTURE):
            return None
        return max(chunk.end, after + 1), names
    if (
        names == ["nearest"]
        and i < len(tokens)
        and (tokens[i] in words.DETERMINERS or _continues(tokens[i]))
    ):
        after, _, _ = _quantity(tokens, i)
        chunk = _chunk(tokens, after)
        return (chunk.end, names) if chunk.head in words.PICTURE else None
    return i, names


def _relation(tokens: list[str], i: int) -> tuple[str, int]:
    """The relation that starts at `i` and its length in words; ("", 0) when there is none."""
    for length in (4, 3, 2, 1):
        name = " ".join(tokens[i : i + length])
        if len(tokens) >= i + length and name in words.RELATIONS:
            return words.RELATIONS[name], length
    return "", 0


def _joined(tokens: list[str], end: int) -> bool:
    """Whether another target follows: "the batter and the catcher"."""
    return tokens[end : end + 1] == ["and"] and tokens[end + 1 : end + 2] in (
        ["the"], ["his"], ["her"], ["a"], ["an"], ["its"],
    )  # fmt: skip


def _once(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
