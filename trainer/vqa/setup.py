"""From what a person types to what `trainer.vqa.bench` needs: the model asked, the masker, the judge.

An address and a model may be typed or stand in the environment (`annotators.chat.profile`, profiles "vqa" and "judge",
which fall back to "chat"); keys stand in the environment alone. A key goes only to the address that it was set beside:
a typed address takes MASKMIX_VQA_API_KEY or MASKMIX_JUDGE_API_KEY.
"""

import hashlib
import os
from pathlib import Path

from annotators.chat.endpoint import Endpoint
from annotators.chat.profile import read_profile
from annotators.ledger import Ledger, Limits
from trainer.models.saved_model import FACTS
from trainer.use.effects import Effect
from trainer.use.predictor import Predictor
from trainer.vqa.asking import Masking
from trainer.vqa.bench import Judge
from trainer.vqa.egothink import OURS, published_grading

SPENDING = "spending.jsonl"


def open_endpoint(
    profile: str,
    *,
    url: str = "",
    model: str = "",
    concurrency: int = 8,
    image_side: int = 2048,
    timeout: float = 120.0,
    patience: float = 300.0,
    spending: Path | None = None,
    most_calls: int | None = None,
) -> Endpoint:
    """The endpoint of a profile; `url` and `model` go before the environment's.

    Args:
        concurrency: questions open at the same time.
        image_side: longer side in px that an image is sent with; V*Bench is about things that vanish below.
        timeout: seconds for one call.
        patience: seconds that a question may take with all its retries.
        spending: file of the ledger; calls are recorded there over all runs.
        most_calls: of that ledger; a run that would pass it stops and can go on.

    Raises:
        ValueError: address, key or model are not known; the message names the variable to set.
    """
    prefix = f"MASKMIX_{profile.upper()}"
    typed = {f"{prefix}_BASE_URL": url, f"{prefix}_MODEL": model}
    variables = {name: value for name, value in typed.items() if value}
    read_profile(profile, {**os.environ, **variables})
    endpoint = Endpoint(
        f"{profile}_bench",
        profile=profile,
        concurrency=concurrency,
        timeout=timeout,
        patience=patience,
        image_side=image_side,
        variables=variables,
    )
    if spending is not None:
        endpoint.bill(Ledger(spending, Limits(calls=most_calls)))
    return endpoint


def open_judge(
    *, url: str = "", model: str = "", prompts: Path | None = None, spending: Path | None = None
) -> Judge:
    """The judge of open answers; with `prompts`, EgoThink's `judge_prompts.jsonl`, it is asked in its words.

    Raises:
        ValueError: address, key or model are not known, or the file holds no such prompt.
    """
    asker = open_endpoint("judge", url=url, model=model, spending=spending)
    return Judge(asker=asker, grading=OURS if prompts is None else published_grading(prompts))


def open_masking(
    masker: str, *, effect: Effect, threshold: float, crop: bool
) -> tuple[Masking, str]:
    """The masked view by a trained model, and the masker's name: of a folder with the hash of its model.

    Raises:
        ValueError: there is no such model, or it is damaged.
    """
    predictor = Predictor.from_pretrained(masker)
    masking = Masking(predict=predictor.predict, effect=effect, threshold=threshold, crop=crop)
    folder = Path(masker).expanduser()
    if not folder.is_dir():
        return masking, masker
    facts = next(iter(sorted(folder.rglob(FACTS))), None)
    assert facts is not None, folder
    return masking, f"{folder.resolve().name}@{hashlib.sha256(facts.read_bytes()).hexdigest()[:8]}"
