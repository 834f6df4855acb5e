"""Words that the offline experts know: colours, shades, sizes, materials, places, and the closed classes of English.

Small and literal on purpose: what is not here is taken as a noun, and an expert that meets no word of its own abstains.
All keys are lower case.
"""


def word_set(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


COLOURS: dict[str, str] = {
    "amber": "orange", "aqua": "cyan", "aquamarine": "cyan", "azure": "blue", "beige": "beige",
    "black": "black", "blue": "blue", "bronze": "brown", "brown": "brown", "burgundy": "dark red",
    "charcoal": "dark grey", "chestnut": "brown", "chocolate": "dark brown", "coral": "pink",
    "cream": "beige", "crimson": "red", "cyan": "cyan", "fuchsia": "pink", "gold": "yellow",
    "golden": "yellow", "gray": "grey", "green": "green", "grey": "grey", "indigo": "purple",
    "ivory": "beige", "khaki": "beige", "lavender": "light purple", "lilac": "light purple",
    "lime": "green", "magenta": "pink", "maroon": "dark red", "mauve": "purple", "mint": "light green",
    "mustard": "yellow", "navy": "dark blue", "olive": "dark green", "orange": "orange",
    "peach": "light orange", "pink": "pink", "purple": "purple", "red": "red", "rose": "pink",
    "salmon": "pink", "scarlet": "red", "silver": "grey", "tan": "beige", "teal": "cyan",
    "turquoise": "cyan", "violet": "purple", "white": "white", "yellow": "yellow",
}  # fmt: skip
"""Colour word -> one of the names that `annotators.classical.colour` can point at, with at most one shade before it."""

SHADES: dict[str, str] = {
    "dark": "dark", "darker": "dark", "darkest": "dark", "deep": "dark",
    "bright": "", "vivid": "",
    "light": "light", "lighter": "light", "lightest": "light", "pale": "light",
}  # fmt: skip
"""Words that change a colour after them; `dark` and `light` may also stand alone."""

SIZES: dict[str, str] = {
    "big": "large", "bigger": "large", "biggest": "large", "enormous": "large", "giant": "large",
    "huge": "large", "large": "large", "larger": "large", "largest": "large", "massive": "large",
    "little": "small", "mini": "small", "small": "small", "smaller": "small", "smallest": "small",
    "tiniest": "small", "tiny": "small",
    "high": "tall", "tall": "tall", "taller": "tall", "tallest": "tall",
    "short": "short", "shorter": "short", "shortest": "short",
    "long": "long", "longer": "long", "longest": "long", "wide": "wide", "widest": "wide",
    "narrow": "narrow", "slim": "narrow", "thin": "narrow", "thinnest": "narrow",
}  # fmt: skip

MATERIALS: frozenset[str] = word_set("""
    brass brick cardboard ceramic checked checkered cloth concrete cotton denim dotted fabric flowery fluffy furry
    glass glossy iron leather marble matte metal metallic paper plaid plain plastic porcelain rubber shiny spotted
    steel stone striped tiled transparent wicker wood wooden wool woollen woven
    """)
"""Materials and textures; `glass` and the like are read as nouns when they end the phrase."""

PLACES: dict[str, str] = {
    "left": "left", "lefthand": "left", "left-hand": "left", "leftmost": "leftmost", "left-most": "leftmost",
    "right": "right", "righthand": "right", "right-hand": "right", "rightmost": "rightmost",
    "right-most": "rightmost", "top": "top", "upper": "top", "topmost": "topmost", "uppermost": "topmost",
    "bottom": "bottom", "lower": "bottom", "bottommost": "bottommost", "lowest": "bottommost",
    "lowermost": "bottommost", "highest": "topmost", "middle": "middle", "center": "middle", "centre": "middle",
    "central": "middle", "centremost": "middle", "front": "near", "foreground": "near", "nearest": "nearest",
    "closest": "nearest", "frontmost": "nearest", "back": "far", "background": "far", "rear": "far",
    "farthest": "farthest", "furthest": "farthest", "distant": "far", "distance": "far",
}  # fmt: skip
"""Place word -> where in the picture; the forms in -st and -most choose one of several."""

RELATIONS: dict[str, str] = {
    "to the left of": "left of", "on the left of": "left of", "left of": "left of",
    "to the right of": "right of", "on the right of": "right of", "right of": "right of",
    "in front of": "in front of", "in back of": "behind", "behind": "behind", "beyond": "behind",
    "above": "above", "over": "above", "on top of": "on", "atop": "on", "on": "on", "onto": "on", "upon": "on",
    "below": "below", "beneath": "below", "underneath": "below", "under": "below",
    "next to": "beside", "beside": "beside", "alongside": "beside", "near to": "beside",
    "close to": "beside", "closest to": "beside", "nearest to": "beside", "nearest": "beside",
    "near": "beside", "by": "beside", "against": "beside", "around": "beside", "at": "beside",
    "between": "between", "among": "between", "amid": "between",
    "inside": "in", "within": "in", "into": "in", "in": "in", "through": "in", "from": "in", "out of": "in",
    "across": "on", "along": "on", "off": "on", "outside": "beside", "with": "with", "of": "of",
}  # fmt: skip
"""Preposition -> relation of the target to its anchor; longer ones win."""

CLOTHES: frozenset[str] = word_set("""
    apron blouse boot cap cardigan clothes coat costume dress glove glasses gown guard hat heels helmet hoodie jacket
    jean jeans jersey kit outfit pants polo pullover rash robe scarf shirt shirts shoe shoes short shorts skirt sleeve
    sneaker sock suit sunglasses sweater sweatshirt swimsuit t-shirt tee tie top trousers uniform vest wetsuit
    """)
"""What "in" followed by it means worn by; its colour is the colour of a part."""

PICTURE: frozenset[str] = word_set(
    "frame image photo photograph picture scene shot view screen us camera viewer"
)
"""Nouns that mean the picture itself: "left of the picture" is a place, not a relation."""

DETERMINERS: frozenset[str] = word_set("""
    the a an this that these those my your his her its our their some any another all both every each either
    no other which whose
    """)

NUMBERS: dict[str, int] = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9, "10": 10,
}  # fmt: skip

EVERYONE: frozenset[str] = word_set("everyone everybody everything people")

PARTITIVES: frozenset[str] = word_set(
    "bunch clump cluster couple group kind lot one pair part piece row set side slice sort stack type"
)
"""In "a bunch of bananas" the target is the bananas."""

ADJECTIVES: frozenset[str] = word_set("""
    alone asleep awake bald bare blonde blurry broken clean clear closed curly cute dappled dirty elderly electric
    empty fallen far first flat fluffy free fresh full hot last lit lone main new nice off old only open oval
    partial plump ready rectangular ripe round same second single smooth soft square squat steep third top ugly
    unripe upright upside visible wet whole young younger youngest older oldest
    """)

NOUNS_IN_ING: frozenset[str] = word_set("""
    awning building ceiling clothing drawing dressing dumpling earring evening everything frosting icing king
    leggings morning nothing painting pudding railing ring seating something spring string swing thing
    wedding wing
    """)

NOUNS_IN_ED: frozenset[str] = word_set("bed hundred moped red reed seed shed sled speed weed")

PARTICIPLES: frozenset[str] = word_set(
    "built cut drawn driven eaten held hung kept laid made put seen set shown thrown torn worn written"
)

VERBS: frozenset[str] = word_set("""
    am are be been being belong belongs can contain contains could did do does face faces had has have holds
    is lies look looks may mean might reads rest rests run runs say says shall should show shows sit sits stand
    stands was wear wears were will would
    """)
"""Finite verbs: none of them continues a noun phrase."""

STOPS: frozenset[str] = word_set("""
    and or but than as so if when while before after until because who whom whose which that where what why how
    there here he she they we i you just past aboard still also not it them me us him up down away
    together please back-to-back
    about across along amid among around at atop behind below beneath beside between beyond by during for from in
    inside into near next nearest of off on onto out outside over through to toward towards under underneath upon
    with within without above against alongside closest
    """)
"""Prepositions, conjunctions and pronouns: each ends the run of words that holds the head noun."""

COMMANDS: frozenset[str] = word_set(
    """
    add ask box bring call catch change check clean clear click climb close count crop drop fetch fill find focus
    follow get give go grab guide hand highlight hit hold inspect keep kick lean lift light locate look make mark move
    open pass pick place point pour press pull push put reach read refill remove rinse scrub select show sit stand
    stir straighten switch take tap tell throw touch track turn type unlock untie vacuum wait walk warm wash watch
    water wave wax wipe zoom
    """
)
"""Verbs that open a command."""
