"""What a single English word is: its singular, the colours in it, whether it can stand before a noun. Pure rules."""

from annotators.language import lexicon as words

IRREGULAR: dict[str, str] = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "feet": "foot",
    "knives": "knife", "shelves": "shelf", "leaves": "leaf", "loaves": "loaf", "cattle": "cow", "oxen": "ox",
    "geese": "goose", "teeth": "tooth", "buses": "bus", "everyone": "person", "everybody": "person",
    "everything": "thing", "skis": "ski",
}  # fmt: skip
SAME: frozenset[str] = words.word_set(
    "bus gas jeans lens pants scissors series sheep shorts species sunglasses tennis trousers"
)

NOUNS_TOO: frozenset[str] = words.word_set("can face stand stands")
"""Verbs that are nouns when no noun stands before them: "the red can"."""


def singular(noun: str) -> str:
    """The singular of an English noun, by rule.

    >>> [singular(word) for word in ("mugs", "boxes", "berries", "people", "glass", "scissors")]
    ['mug', 'box', 'berry', 'person', 'glass', 'scissors']
    """
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun in SAME or not noun.endswith("s") or noun.endswith(("ss", "us", "is", "'s")):
        return noun
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "xes", "sses", "oes", "zes")) and noun != "shoes":
        return noun[:-2]
    return noun[:-1]


def colour_names(word: str) -> tuple[str, ...]:
    """Colour names inside one word, hyphenated ones taken apart; () when it names none.

    >>> colour_names("yellow-green"), colour_names("reddish"), colour_names("light-coloured")
    (('yellow', 'green'), ('red',), ('light',))
    """
    found: list[str] = []
    parts = word.split("-")
    for part in parts:
        for form in (part, part.removesuffix("ish"), part.removesuffix("dish")):
            if form in words.COLOURS:
                found.append(words.COLOURS[form])
                break
    if not found and len(parts) == 2 and parts[1] in ("coloured", "colored"):
        shade = words.SHADES.get(parts[0], "")
        return (shade,) if shade else ()
    return tuple(found)


def is_participle(word: str) -> bool:
    """Whether `word` looks like a participle: standing, parked, held."""
    if word in words.NOUNS_IN_ING or word in words.NOUNS_IN_ED:
        return False
    return word in words.PARTICIPLES or (len(word) > 4 and word.endswith(("ing", "ed")))


def is_modifier(word: str) -> bool:
    """Whether `word` can stand before a noun and is none itself."""
    return (
        bool(colour_names(word))
        or word in words.SHADES
        or word in words.SIZES
        or word in words.MATERIALS
        or word in words.PLACES
        or word in words.ADJECTIVES
        or word.endswith("ly")
        or is_participle(word)
        or ("-" in word and word.endswith(("ed", "ing", "sleeved", "speed", "hand")))
    )


def can_be_noun(word: str) -> bool:
    """Modifiers that are nouns when nothing follows: "the glass", "an orange", "the light"."""
    return word in ("orange", "light", "glass", "iron", "paper", "cloth", "short", "metal", "wood")


def noun_after_noun(word: str) -> bool:
    """Whether a word of the modifier lists is a noun when one stands before it: "tank top"."""
    return can_be_noun(word) or word in ("top", "back", "board")


def is_partitive(head: str) -> bool:
    """Whether the noun behind "of" is meant rather than `head`."""
    return not head or singular(head) in words.PARTITIVES


def looks_plural(noun: str) -> bool:
    """Whether `noun` is a plural by its form."""
    return noun in IRREGULAR or (singular(noun) != noun and noun not in SAME)
