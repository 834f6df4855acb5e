"""What everyone knows about common things without having learnt a model: their usual colours and outlines.

A few dozen nouns and some materials, used as weak cues where the phrase itself names no colour. Written from general
knowledge; a noun that is not here tells nothing.
"""

from annotators.language.lexicon import word_set

TYPICAL_COLOURS: dict[str, tuple[str, ...]] = {
    "apple": ("red", "green"), "banana": ("yellow", "green"), "bear": ("brown", "black"), "bride": ("white",),
    "broccoli": ("green",), "carrot": ("orange",), "cow": ("brown", "black", "white"), "donut": ("brown",),
    "elephant": ("grey",), "flower": ("red", "pink", "yellow", "purple"), "floret": ("green",),
    "giraffe": ("orange", "brown", "beige"), "goose": ("white",), "grape": ("purple", "green"),
    "grass": ("green",), "horse": ("brown", "black"), "leaf": ("green",), "lemon": ("yellow",),
    "orange": ("orange",), "pear": ("green", "yellow"), "pizza": ("orange", "brown", "yellow"), "plant": ("green",),
    "refrigerator": ("white", "grey"), "fridge": ("white", "grey"), "sheep": ("white", "beige"),
    "sky": ("blue", "light grey"), "snow": ("white",), "strawberry": ("red",), "swan": ("white",),
    "toilet": ("white",), "tomato": ("red",), "tree": ("green",), "zebra": ("white", "black"),
}  # fmt: skip
"""Head noun -> colours it usually has."""

MATERIAL_COLOURS: dict[str, tuple[str, ...]] = {
    "brass": ("yellow", "brown"), "brick": ("brown", "red"), "cardboard": ("beige", "brown"),
    "iron": ("dark grey", "black"), "metal": ("grey",), "metallic": ("grey",), "steel": ("grey",),
    "wicker": ("beige", "brown"), "wood": ("brown", "beige"), "wooden": ("brown", "beige"),
}  # fmt: skip
"""Material -> colours it usually has."""

ROUND: frozenset[str] = word_set(
    "apple ball bowl button clock coin donut globe lemon orange peach pizza plate ring sun tomato wheel"
)
TALL: frozenset[str] = word_set(
    """
    bottle boy bride can candle catcher cone fridge girl giraffe glass guy jug lady lamp man person player refrigerator
    skater skier statue thermos tower tree umpire vase woman
    """
)
WIDE: frozenset[str] = word_set(
    "airplane bed bench boat book bus car couch keyboard knife laptop plane sofa surfboard table train tray truck"
)


def outline_fit(head: str, width: float, height: float) -> float:
    """How well a box of these sides fits the usual outline of `head`, in [0.3, 1]; 1 for a noun not known.

    >>> outline_fit("bottle", 10, 30), outline_fit("bottle", 30, 10) < 0.5, outline_fit("thing", 30, 10)
    (1.0, True, 1.0)
    """
    ratio = height / width
    if head in ROUND:
        fit = min(1.0, 1.25 * min(ratio, 1.0 / ratio))
    elif head in TALL:
        fit = min(1.0, ratio / 1.2)
    elif head in WIDE:
        fit = min(1.0, 1.0 / ratio / 1.1)
    else:
        return 1.0
    return max(0.3, fit)
