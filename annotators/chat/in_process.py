"""An asker without a server: a transformers chat model in this process. Text only.

The most likely token is taken every time, so nothing is drawn and a reply depends on the question alone. On a CPU
questions run one by one and a batch gives bit for bit what single calls give; on a GPU `batch_size` of them run
together, shorter ones padded on the left, which is the same up to rounding. The weights are held in `dtype`. Models
that can think before they answer are told not to. Unlike a server, this holds no reply to the schema while it is
written; the parser alone does that.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from annotators.chat.asker import Question
from annotators.models.torch_model import (
    in_chunks,
    load_complete,
    load_processor,
    pick_device,
    pick_dtype,
)
from annotators.models.weights import Named, fetch_weights, name_weights


class InProcess:
    """A chat model of transformers, loaded at the first question.

    Args:
        expert: registered name of the expert that asks.
        model: hub id or folder of a causal language model with a tokenizer that has a chat template.
        revision: commit of the hub.
        device: "auto", "cpu" or "cuda".
        dtype: of the weights: "auto", "float32", "bfloat16" or "float16".
        batch_size: questions that run together on a GPU.
    """

    def __init__(
        self,
        expert: str,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"expert {expert!r}: batch_size is {batch_size}; expected 1 or more")
        self.expert, self.batch_size = expert, batch_size
        self._model, self._revision, self._device, self._dtype = model, revision, device, dtype

    @property
    def model(self) -> str:
        """Hub id or path, as the recipe gives it."""
        return self._model

    @cached_property
    def named(self) -> Named:
        """Which weights.

        Raises:
            ValueError: they are not to be had; the message names the command that gets them.
        """
        return name_weights(self._model, self._revision)

    @cached_property
    def device(self) -> Any:
        return pick_device(self._device)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer saved with the weights.

        Raises:
            ValueError: the folder lacks it, or it has no chat template.
        """
        from transformers import AutoTokenizer

        tokenizer = load_processor(AutoTokenizer, self._folder, self.expert)
        if not tokenizer.chat_template:
            raise ValueError(
                f"expert {self.expert!r}: the tokenizer of {self._model} has no chat template, so the model was not "
                f"taught to answer messages; choose an instruction-tuned model"
            )
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def net(self) -> Any:
        """The network, in evaluation mode on its device.

        Raises:
            ValueError: the weights are not to be had, of another kind, or incomplete.
        """
        from transformers import AutoModelForCausalLM

        dtype = pick_dtype(self._dtype, self.device)
        return load_complete(AutoModelForCausalLM, self._folder, self.expert, dtype=dtype).to(
            self.device
        )

    def ask(self, questions: Sequence[Question]) -> list[str | Exception]:
        """The text of each reply, or why there is none.

        Raises:
            ValueError: the weights are not to be had or cannot chat; a question brings an image.
        """
        prompts = [self._prompt(question) for question in questions]
        answers: dict[int, str | Exception] = {}
        for row, (prompt, question) in enumerate(zip(prompts, questions, strict=True)):
            if reason := self._too_long(prompt, question):
                answers[row] = reason
        rows = [row for row in range(len(questions)) if row not in answers]
        texts = in_chunks(
            [(prompts[row], questions[row].max_tokens) for row in rows],
            self._generate,
            alike=lambda pair: pair[1],
            most=self.batch_size if self.device.type == "cuda" else 1,
        )
        for row, text in zip(rows, texts, strict=True):
            answers[row] = text or ValueError(f"model {self._model} ended its reply before a word")
        return [answers[row] for row in range(len(questions))]

    @cached_property
    def _folder(self) -> Any:
        on_hub = not self.named.revision.startswith("sha256:")
        return fetch_weights(self._model, self.named.revision if on_hub else None)

    def _prompt(self, question: Question) -> str:
        """The text that the model continues.

        Raises:
            ValueError: the question brings an image, or the template does not take a system message.
        """
        from jinja2 import TemplateError

        if question.images:
            raise ValueError(f"expert {self.expert!r} reads text only; it cannot be shown images")
        messages = [{"role": "user", "content": question.user}]
        if question.system:
            messages.insert(0, {"role": "system", "content": question.system})
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except TemplateError as error:
            raise ValueError(
                f"expert {self.expert!r}: the chat template of {self._model} refuses a system message before the "
                f"user's: {error}"
            ) from error

    def _too_long(self, prompt: str, question: Question) -> ValueError | None:
        tokens = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        room = getattr(self.net.config.get_text_config(), "max_position_embeddings", None)
        if room is None or tokens + question.max_tokens <= room:
            return None
        return ValueError(
            f"question of {tokens} tokens and a reply of {question.max_tokens} do not fit the {room} positions of "
            f"{self._model}"
        )

    def _generate(self, rows: list[tuple[str, int]]) -> list[str]:
        import torch

        inputs = self.tokenizer(
            [prompt for prompt, _ in rows],
            return_tensors="pt",
            padding=len(rows) > 1,
            add_special_tokens=False,
        )
        ids, seen = (inputs[key].to(self.device) for key in ("input_ids", "attention_mask"))
        with torch.inference_mode():
            out = self.net.generate(
                input_ids=ids,
                attention_mask=seen,
                max_new_tokens=rows[0][1],
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new = out[:, ids.shape[1] :].cpu()
        return [self.tokenizer.decode(row, skip_special_tokens=True) for row in new]
