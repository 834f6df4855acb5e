"""A phrase: the short referring expression that an expert is asked to find."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["raw", "simplified", "enriched", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """One referring expression.

    `raw` is an instruction taken as it is, `simplified` names its target in few words, `enriched` is a longer
    instruction made for a known target, `absent` names a target that the writer says is not in the image: no other
    expert is asked about it. `made_by` is the name of the expert that wrote it, `model` and `prompt_version` say with
    what. `count` is how many things are meant, 0 when that is not known; `relation` is what tells the target from
    others like it ("left of the bowl").
    """

    text: str
    role: Role
    made_by: str
    model: str = ""
    prompt_version: str = ""
    count: int = 0
    relation: str = ""

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ValueError(f"phrase role {self.role!r}; expected one of {get_args(Role)}")
        if not self.text.strip():
            raise ValueError(
                f"phrase by {self.made_by!r} is empty; an expert with nothing to say returns no phrase"
            )
        if self.count < 0:
            raise ValueError(f"phrase {self.text!r} counts {self.count} things; expected 0 or more")
