"""The discriminator `composite`: a language model is shown what a mask leaves of the image, and asked if that will do.

IVM (arXiv 2405.19783, fig. 6 and released code): the image under the mask over white, a prompt that repeats the
instruction and asks "Can you follow instruction above based on the given image?", the state at the last token, an MLP.
Two things differ from the code, which is not what the figure shows: the adapter is the discriminator's own, and soft
masks are mixed as numbers, where the release reads a float mask's bytes as pixels (an all-0.5 mask takes a mean of 113
to 47 there). Nothing is guessed, so nothing but the verdict is learnt.

Letters: b samples, t tokens, h w pixels of the frame.
"""

from torch import Tensor, nn

from trainer.models.ivm.llava import Llava
from trainer.models.ivm.model import two_layers
from trainer.models.ivm.prompt import Question
from trainer.models.judge import Sight, composite_white


class Composite(nn.Module):
    """A `trainer.models.judge.Judge` whose tokens are the generator's; the question is put into them here.

    Args:
        lmm: the language model that sees, with an adapter of its own.
        question: what the prompt asks after the instruction.
        hidden: inner width of the head.
    """

    def __init__(self, *, lmm: Llava, question: Question, hidden: int = 1024) -> None:
        super().__init__()
        self.lmm, self.question = lmm, question
        self.head = two_layers(lmm.width, hidden, 1)

    def forward(
        self, image: Tensor, tokens: Tensor, mask: Tensor, embedding: Tensor | None = None
    ) -> Tensor:
        """image b3hw in [0, 1], tokens bt, mask b1hw in [0, 1] -> verdict logits b."""
        return self.judge(self.look(image, tokens, embedding), mask)

    def look(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Sight:
        """Nothing is computed before there is a mask: all that is seen is what it leaves. `embedding` is of no use."""
        return Sight(image=image, tokens=self.question.ask(tokens))

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        """Verdict logits b of masks b1hw in [0, 1]."""
        return self.judge_shown(sight, composite_white(sight.image, mask))

    def judge_shown(self, sight: Sight, shown: Tensor) -> Tensor:
        """Verdict logits b of what is shown, b3hw in [0, 1]: an image of which a mask has hidden the rest already."""
        state = self.lmm(shown, sight.tokens, pad=self.question.pad, from_end=0)
        return self.head(state)[:, 0]
