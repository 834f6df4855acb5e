"""SAM 3's concept prompts: a short noun phrase to the masks of all things that it names (arXiv 2511.16719).

    maskmix experts try sam3 "the phrase" --set model=facebook/sam3 --image IMAGE

Every instance whose score passes the threshold is a candidate of its phrase; how several of them become one vote is
annotators.votes' affair. The score is the instance's own times the presence of the concept in the image at all, which
a token of its own tells. The image tower knows nothing of the text, so a photograph is encoded once for all its
phrases and samples. SAM 3 is trained on noun phrases; it reads 32 tokens, and what a phrase has beyond them is cut.

The weights are gated and under a licence of their own (SAM License): accept it on the model's page, then
`hf auth login` and `hf download facebook/sam3`. Numbers equal those of transformers' own forward pass and
`post_process_instance_segmentation` on the same parameters (tests); quality with trained weights is unverified here,
the command above shows it.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from annotators.candidate import Candidate, Provenance
from annotators.identity import Identity
from annotators.masks import encode_mask
from annotators.models.prompt import plain
from annotators.models.torch_model import TorchModel, in_chunks, load_processor, photographs
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.sam.encodings import Encoding, Encodings
from annotators.sam.masks_from_logits import Frame, stability_of

TOKENS = 32
"""Length of SAM 3's text; shorter phrases are padded, as in training."""


class Sam3Concepts:
    """Masks of all things that a phrase names, by SAM 3. Abstains where none passes the threshold.

    Args:
        model: hub id or folder, of model type "sam3" or "sam3_video" (as the hub stores it).
        revision: commit of the hub, or `sha256:...` of a folder.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        compile: give the image tower to torch.compile.
        batch_size: photographs, and phrases of one photograph, that run at once on a GPU.
        threshold: an instance stays when its score is larger.
        keep: encoded photographs that stay between calls; some 100 MB each.
    """

    name = "sam3"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 4,
        threshold: float = 0.5,
        keep: int = 2,
    ) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}; expected a score in [0, 1]")
        self.threshold, self.batch_size = threshold, batch_size
        self._torch = TorchModel(
            expert=self.name,
            classes={"sam3": "Sam3Model", "sam3_video": "Sam3Model"},
            options=dict(
                model=model, revision=revision, device=device, dtype=dtype, compile=compile, threshold=threshold
            ),
            compiled=("vision_encoder",),
        )  # fmt: skip
        self._encodings = Encodings(keep)

    @property
    def identity(self) -> Identity:
        """Which weights answer.

        Raises:
            ValueError: they are not to be had; the message says how to get them.
        """
        return self._torch.identity

    @cached_property
    def _preprocess(self) -> Any:
        from transformers import AutoImageProcessor

        return load_processor(AutoImageProcessor, self._torch.folder, self.name)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return load_processor(AutoTokenizer, self._torch.folder, self.name)

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        texts = [[plain(phrase.text) for phrase in row] for row in phrases]
        asked = [i for i, row in enumerate(texts) if any(row)]
        found: list[list[Candidate]] = [[] for _ in images]
        if not asked:
            return found
        said = self._said(sorted({text for row in texts for text in row if text}))
        most = self._torch.at_once(self.batch_size)
        encodings = self._encodings.of([images[i] for i in asked], self._encode, batch_size=most)
        for i, encoding in zip(asked, encodings, strict=True):
            numbers = [number for number, text in enumerate(texts[i]) if text]
            rows = [(number, *said[texts[i][number]]) for number in numbers]
            answers = in_chunks(
                rows,
                lambda chunk, seen=encoding: self._ask(seen, chunk),
                alike=lambda _: None,
                most=most,
            )
            found[i] = [candidate for answer in answers for candidate in answer]
        return found

    def _said(self, texts: list[str]) -> dict[str, tuple[Any, Any]]:
        """Text -> its features (1, tokens, d) and which tokens are no padding (1, tokens)."""
        words = self._tokenizer(
            texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        words = self._torch.on_device(words)

        def forward(rows: list[int]) -> list[tuple[Any, Any]]:
            ids, real = words["input_ids"][rows], words["attention_mask"][rows]
            with self._torch.running():
                features = self._torch.net.get_text_features(
                    input_ids=ids, attention_mask=real
                ).pooler_output
            return [(features[k : k + 1], real[k : k + 1]) for k in range(len(rows))]

        most = self._torch.at_once(self.batch_size)
        made = in_chunks(range(len(texts)), forward, alike=lambda _: None, most=most)
        return dict(zip(texts, made, strict=True))

    def _encode(self, images: list[Image]) -> list[Encoding]:
        import torch

        seen = [self._preprocess([i], return_tensors="pt") for i in photographs(images)]
        pixels = torch.cat([each["pixel_values"] for each in seen]).to(self._torch.device)
        with self._torch.running():
            levels = self._torch.net.get_vision_features(pixels).fpn_hidden_states
        return [
            Encoding(
                features=[level[k : k + 1].float().clone() for level in levels],
                frame=Frame(size_hw=(int(image.shape[0]), int(image.shape[1]))),
            )
            for k, image in enumerate(images)
        ]

    def _ask(self, encoding: Encoding, rows: list[tuple[int, Any, Any]]) -> list[list[Candidate]]:
        """The candidates of each row: number of the phrase, its features, its real tokens."""
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        net = self._torch.net
        levels = [level.expand(len(rows), -1, -1, -1) for level in encoding.features]
        where = net.vision_encoder.neck.position_encoding
        seen = Sam3VisionEncoderOutput(
            fpn_hidden_states=tuple(levels),
            fpn_position_encoding=tuple(where(v.shape, v.device, v.dtype) for v in levels),
        )
        said = BaseModelOutputWithPooling(pooler_output=torch.cat([row[1] for row in rows]))
        real = torch.cat([row[2] for row in rows])
        with self._torch.running():
            out = net(vision_embeds=seen, text_embeds=said, attention_mask=real)
        scores = (out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid()).cpu()
        return [
            self._instances(scores[k], out.pred_masks[k], encoding.frame, row[0])
            for k, row in enumerate(rows)
        ]

    def _instances(self, scores: Any, logits: Any, frame: Frame, phrase: int) -> list[Candidate]:
        """Candidates from scores (q,) and mask logits (q, s, s), the surest first; empty masks are none."""
        from torch.nn.functional import interpolate

        order = scores.argsort(descending=True, stable=True)
        chosen = order[scores[order] > self.threshold]
        found: list[Candidate] = []
        for query in chosen.tolist():
            low, score = logits[query][None].float(), float(scores[query])
            # Probabilities are enlarged, not logits: transformers' way, and where the outline then lies.
            full = interpolate(low.sigmoid()[None], frame.size_hw, mode="bilinear")[0, 0]
            mask = (full > 0.5).cpu().numpy()
            if mask.any():
                found.append(
                    Candidate(
                        mask=encode_mask(mask),
                        phrase=phrase,
                        proposal=None,
                        mask_score=score,
                        stability=float(stability_of(low)[0]),
                        made_by=self._made_by(score),
                    )
                )
        return found

    def _made_by(self, score: float) -> Provenance:
        who = self.identity
        return Provenance(
            expert=self.name,
            model=who.model,
            revision=who.revision,
            score_raw=score,
            config_hash=who.config_hash,
        )
