"""Instructions to target phrases by rules: no model, no image. English only; other languages make it abstain.

Questions and commands are matched against a short ordered list of shapes ("What colour is T?", "Zoom in on T", "Pour
some water from T"); what is left of the instruction is the target, with its attributes, place and relations. The list
came from reading how people ask for things in photographs; it holds shapes of sentences and no nouns of any dataset.
"""

import re
from collections.abc import Sequence

from annotators.language.lexicon import COMMANDS, STOPS, word_set
from annotators.language.noun_phrase import TOKEN, PhraseParts, noun_run_end, read_phrase, tokenize
from annotators.phrase import Phrase
from annotators.protocols import Image

LONGEST = 400
"""Characters of an instruction that are read; a target named later than that is not found."""

NP = r"(?:the|a|an|this|that|these|those|my|your|his|her|its|our|their|both|all|every|each)\b.+"
SEEN = r"(?:written|printed|painted|shown|drawn|engraved|displayed|stocked|kept|stored|cooking)"
NOT_THINGS = r"(?:way|direction|colou?rs?|shape|size|time|number|word|words|team|airline|brand|kind|type|material|name)"

QUESTIONS: tuple[tuple[str, str], ...] = (
    (rf"^(?:what|which|whose|how)\b.* {SEEN}\b.*? (?:on|along|inside|across|near|in) (?P<t>{NP})$", "{t}"),
    (rf"^what(?:'s| is| are) (?:wrong|unusual|strange|special|funny|different) (?:about|with) (?P<t>{NP})$", "{t}"),
    (r"^how many (?P<t>.+?) (?:are|is|can) (?P<r>.+)$", "all the {t} {r}"),
    (r"^how many (?P<n>.+?) (?:does|do|did) (?P<t>.+?) (?:have|has|hold|contain|show)\b.*$", "{t}"),
    (r"^how many (?P<t>.+?) (?:have|has|were|stand|sit|lie|hang)\b.*$", "all the {t}"),
    (r"^how many (?P<t>.+)$", "all the {t}"),
    (rf"^(?:what|which) .* according to (?P<t>{NP})$", "{t}"),
    (rf"^(?:what|which) (?:\w+ )?{NOT_THINGS}\b(?: of)?.*? (?:is|are|was|does|do|did) (?P<t>{NP})$", "{subject}"),
    (rf"^(?:what|which) {NOT_THINGS}(?: of [\w -]+)? (?P<t>(?:\w+ ){{1,3}}(?:is|are)\b.+)$", "{subject}"),
    (r"^which (?P<t>.+?) (?:is|are) (?P<r>.+)$", "the {t} {r}"),
    (r"^which (?P<t>.+?) (?:has|have) (?P<r>(?:a|an|the|its|his|her|two|no)\b.+)$", "the {t} with {r}"),
    (r"^which (?P<t>.+?) (?:has|have|can) (?P<r>.+)$", "the {t} that has {r}"),
    (r"^which (?P<t>[\w -]+?) (?P<r>\w+s (?:across|along|under|on|in|over|behind|above|beside|below|to) .+)$",
     "the {t} that {r}"),
    (r"^(?:what|which) (?:kind|type|sort) of (?P<t>[\w -]+?) (?:is|are) (?P<r>.+)$", "the {t} {r}"),
    (rf"^what (?:kind|type|sort)s? of .+? (?:is|are) in (?P<t>{NP})$", "{t}"),
    (rf"^(?:what|which) [\w ]+? (?:is|are) (?:on|in) (?P<t>{NP})$", "{t}"),
    (r"^what colou?r (?P<t>\w+) (?:is|are) (?P<s>.+?) (?P<v>wearing|holding|carrying|using)$", "the {t} {s} is {v}"),
    (rf"^what(?:'s| is| are) (?P<r>(?:in|on|under|behind|beside|above|below|inside) {NP})$", "the thing {r}"),
    (r"^what(?:'s| is| are) (?P<s>.+?) doing\b.*$", "{s}"),
    (rf"^what(?:'s| is| are) (?P<s>(?:{NP}|he|she|it)) (?P<v>(?:about to )?\w+(?:ing|ed)\b.*)$",
     "the thing {s} is {v}"),
    (r"^what(?:'s| is| are) (?P<v>\w+ing .+)$", "the thing {v}"),
    (rf"^what has (?P<s>{NP}) got (?:hold of|on)\b.*$", "the thing {s} has got hold of"),
    (rf"^what (?:does|do|did) (?P<s>{NP}) have(?P<v>\b.*)$", "the thing {s} has{v}"),
    (rf"^what (?:does|do|did) (?P<s>{NP}) (?P<v>hold|wear|carry)(?P<r>\b.*)$", "the thing {s} {v}s{r}"),
    (rf"^what (?:does|do|did) (?P<t>{NP})$", "{subject}"),
    (r"^what (?P<t>\w+) (?:is|are) (?P<s>.+?) (?P<v>\w+ing(?: \w+)?)$", "the {t} {s} is {v}"),
    (rf"^what [\w ]+? (?:does|do|is|are) (?P<t>{NP})$", "{subject}"),
    (r"^what (?:is|are) the (?P<t>.+)$", "the {t}"),
    (rf"^(?:who|where)(?:'s| is| are| was) (?P<t>{NP})$", "{subject}"),
    (r"^who(?:'s| is| are) (?P<r>.+)$", "the person {r}"),
    (r"^whose (?P<t>.+?) (?:can|is|are)\b(?: be)?(?: seen)? (?P<r>.+)$", "the {t} {r}"),
    (rf"^why (?:is|are|does|do|did) (?P<t>{NP})$", "{subject}"),
    (r"^(?:is|are) there (?:a|an|any)?\s*(?P<t>.+)$", "the {t}"),
    (rf"^(?:is|are) (?:anything|something|anyone|someone)\b.*? (?:on top of|on|in|inside|near|at) (?P<t>{NP})$", "{t}"),
    (rf"^(?:is|are|was|were|does|do|did|has|have|can) (?P<t>{NP})$", "{subject}"),
)  # fmt: skip
"""Shape of a question -> its target. `{subject}` is the noun phrase that `t` begins with."""

AIMS = (
    r"zoom(?: the camera)?(?: right)? in(?:to)?(?: on)?",
    r"(?:focus|keep|point|train|aim) the (?:camera|lens) (?:on|at)",
    r"keep (?:your|an) eyes? on",
    r"(?:check|tell me|read) the time (?:on|of|from)",
    r"keep (?:watching|tracking|following)",
    r"(?:take|snap) a (?:photo|picture|shot) of",
    r"crop .*?\b(?:around|to)",
    r"(?:put|draw|place) a (?:\w+ )?(?:box|circle|frame|line|outline) (?:a?round|on)",
    r"(?:point|look|wave|smile) (?:at|to|out|towards?)",
    r"show me(?: where)?",
    r"(?:have|take) a look at",
    r"count(?: up)?",
    r"find(?: me)?",
    r"pick (?:out|up)",
    r"(?:high)?light",
    r"locate",
    r"segment",
    r"mask(?: out)?",
    r"move the (?:gripper|arm|hand|robot|cursor|pointer) (?:over )?to(?:wards?)?",
    r"select",
    r"mark",
    r"box",
    r"circle",
    r"outline",
    r"identify",
    r"detect",
    r"track",
    r"follow",
    r"watch",
)
"""Openings of commands that only aim at the target: everything after them is the target."""

NOT_INFINITIVE = r"(?:the|an?|my|your|his|her|us|me|you|left|right|each|that|this)\b"

TAILS: tuple[str, ...] = (
    r",? please$",
    r" where (?:his|her|my|their|the) .*$",
    r" for (?:me|us)\b.*$",
    r" (?:and|then) (?:see|then|put|bring|give|tell|check|place|hand|move|tuck)\b.*$",
    r" (?:before|until|because|as it|as they|so that|so we|if) .*$",
    rf" to (?!{NOT_INFINITIVE})\w+(?: (?:around|it|up|down|me|over|here)\b.*)?$",
    r"(?<!nearest)(?<!closest)(?<!next)(?<!close) (?:away from|to|at) (?:him|her|me|us|them)$",
    r" (?:a|an) (?:scratch|hug|wave|pat|kiss|push|clean|wipe|polish)$",
    r" (?:for|over) (?:a \w+|here|there)$",
    r"(?<=[a-z]) (?:are|is) (?:there|visible|shown|we|you)\b.*$",
    r" (?:are )?(?:there(?: in total| here)?|in total|can you see|do you see|you (?:can )?see)$",
    r" (?:in|on|of) (?:this|the) (?:photo|picture|image|scene|photograph)$",
)
"""Ends of instructions that say nothing about the target."""

SOURCE = re.compile(
    r"^\w+(?: (?:up|down|out|in|me|us))* (?:some|a|an|my|any)\b(?: [\w-]+){1,3}?"
    r" (?:from|out of|around|off)(?: of)? (?P<t>(?:the|a|this|that|my|your|his|her)\b.+)$",
    re.IGNORECASE,
)
"""Fetch something unseen from a thing that is seen: the thing is the target."""
GOAL = re.compile(
    r"^(?:put|heat|warm|cook|throw|take|add|pour|wash|rinse)(?: up| down)? (?:some|a|an|my|this|any)\b(?: [\w-]+){1,3}?"
    r" (?:in|into|on|onto|to|through) (?P<t>(?:the|a|that|his|her)\b.+)$",
    re.IGNORECASE,
)
START = re.compile(rf"\b(?P<t>{NP})$", re.IGNORECASE)
POLITE = re.compile(
    r"^(?:(?:hey|hi|hello|ok|okay|now|robot|please|then|and)[,!]?\s+|(?:can|could|would|will) you(?: please)?\s+"
    r"|do you (?:see|have)\s+"
    r"|i (?:want|need|would like) (?:you to\s+)?|let's\s+|go(?: and)?\s+)+",
    re.IGNORECASE,
)
ASKS = re.compile(
    r"^(?:what|which|who|whose|where|why|when|how|is|are|was|were|does|do|did|has|have|can)\b"
    r"(?!'t)",
    re.IGNORECASE,
)
BRIDGES = word_set(
    "of on in at by beside behind under above below near with inside around between over wearing up"
)
"""Prepositions that a subject may go on with."""
PRONOUNS = word_set("it this that he she they him her them me us you anything something")


class RulesRewriter:
    """Name the target of an instruction by rules; the best of several phrasings is kept.

    Args:
        most: how many phrases to give at most, the richest in attributes first.
    """

    name = "rules"
    reads_image = False

    def __init__(self, *, most: int = 1) -> None:
        if most < 1:
            raise ValueError(f"most is {most}; expected at least 1 phrase")
        self.most = most

    def rewrite(
        self, instructions: Sequence[Sequence[str]], images: Sequence[Image]
    ) -> list[list[Phrase]]:
        return [self._one(phrasings) for phrasings in instructions]

    def _one(self, phrasings: Sequence[str]) -> list[Phrase]:
        found = {target: None for text in phrasings if (target := target_of(text)) is not None}
        ranked = sorted(found, key=lambda target: -richness(read_phrase(target)))  # stable
        return [
            Phrase(text=target, role="simplified", made_by=self.name)
            for target in ranked[: self.most]
        ]


def target_of(instruction: str) -> str | None:
    """The noun phrase that `instruction` is about, or None when the rules find none.

    >>> target_of("What colour is the bag beside the man's hip?")
    "the bag beside the man's hip"
    >>> target_of("Pick up the red mug left of the plate, please.")
    'the red mug left of the plate'
    >>> target_of("どこですか") is None
    True
    """
    for sentence in re.split(r"(?<=[.!?;])\s+", instruction[:LONGEST].replace("’", "'")):
        text = POLITE.sub("", re.sub(r"\s+", " ", sentence).strip().rstrip(" .?!:;,"))
        found = _question(text) if ASKS.match(text) else _command(text)
        found = _trim(found)
        if found and (head := read_phrase(found).head) and head not in PRONOUNS:
            return found
    return None


def richness(parts: PhraseParts) -> int:
    """How much a phrase says that an expert can use: attributes, places, a relation."""
    said = len(parts.colours) + len(parts.sizes) + len(parts.places) + len(parts.part_colours)
    return 2 * said + len(parts.materials) + bool(parts.relation) + (parts.head != "thing")


def _question(text: str) -> str:
    for shape, template in QUESTIONS:
        match = re.match(shape, text, re.IGNORECASE)
        if match is None:
            continue
        said = {name: value or "" for name, value in match.groupdict().items()}
        if template == "{subject}":
            return _subject(said["t"])
        return template.format(**said)
    return ""


def _command(text: str) -> str:
    words = tokenize(text)
    if not words:
        return ""
    for aim in AIMS:
        match = re.match(rf"{aim}\s+(?P<t>.+)$", text, re.IGNORECASE)
        if match is not None:
            target = match["t"]
            counted = re.match(r"(?:count|how many)\b", text, re.IGNORECASE)
            if counted and not re.match(r"(?:all|both|every|each)\b", target, re.IGNORECASE):
                target = f"all the {re.sub(r'^the ', '', target, flags=re.IGNORECASE)}"
            return target
    for shape in (SOURCE, GOAL):
        match = shape.match(text)
        if match is not None:
            return match["t"]
    if re.match(NP, text, re.IGNORECASE):
        return text
    match = START.search(text)
    if match is None:
        return (
            text if re.match(r"[a-z][a-z ,'-]+$", text, re.IGNORECASE) and len(words) <= 12 else ""
        )
    before = tokenize(text[: match.start()])
    if before and before[0] not in COMMANDS and before[-1] in STOPS | BRIDGES:
        return text  # a phrase without a determiner: "guy in the red shirt"
    return match["t"]


def _subject(text: str) -> str:
    """The noun phrase at the start of a clause: its head and prepositional phrases, without the predicate."""
    spans = [match.span() for match in TOKEN.finditer(text.lower())]
    tokens = [text.lower()[start:end] for start, end in spans]
    end = noun_run_end(tokens, 0)
    while end < len(tokens) and tokens[end] in BRIDGES:
        behind = noun_run_end(tokens, end + 1)
        if behind == end + 1:
            break
        end = behind
    subject = text[: spans[end - 1][1]] if end else ""
    return re.sub(r"\b(left|right|top|bottom|middle|front|back) \w+(?:ing|ed)$", r"\1", subject)


def _trim(text: str) -> str:
    text = text.strip(" ,")
    for _ in range(2):
        for tail in TAILS:
            shorter = re.sub(tail, "", text, flags=re.IGNORECASE).strip(" ,")
            if shorter and read_phrase(shorter).head:
                text = shorter
    return text
