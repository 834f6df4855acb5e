"""Why one input is turned away at the edge: a reason that can be counted and a detail to read.

Raised where an input is examined (`images`, `instructions` and `gold_masks` beside this file); the source
that listed the input turns it into a `Reject`, so one bad input never stops a build.
"""

from pipeline.records import Reject


class Refused(ValueError):
    """One input that cannot become a sample; `reason` is a slug such as "image-truncated"."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def reject(self, sample_id: str) -> Reject:
        """The reject of stage "source" that says so; the detail is made fit for UTF-8 and cut."""
        detail = self.detail[:500].encode("utf-8", "backslashreplace").decode()
        return Reject(sample_id=sample_id, stage="source", reason=self.reason, detail=detail)
