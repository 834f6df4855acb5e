"""A photograph on disk and an instruction -> the picture a model downstream would be given, on disk."""

from pathlib import Path

import cv2

from pipeline.intake.images import admit, decode
from pipeline.shards import write_atomic
from trainer.use.effects import Effect, Shown, apply_effect
from trainer.use.predictor import Predictor


def predict_file(
    predictor: Predictor,
    image: Path,
    instruction: str,
    out: Path,
    *,
    effect: Effect,
    crop: bool,
    threshold: float,
) -> Shown:
    """Predict the mask of `instruction` on the photograph `image` and write the effect to `out`.

    `out` is .png or .jpg. The photograph may be of any kind that a source admits; it is turned upright first.

    Raises:
        ValueError: the photograph is missing or damaged, or `out` has another ending.
    """
    if out.suffix not in (".png", ".jpg"):
        raise ValueError(f"cannot write {out}: expected a name that ends in .png or .jpg")
    if not image.is_file():
        raise ValueError(f"there is no photograph {image}")
    pixels = decode(admit(image.read_bytes(), "png").image)
    probability = predictor.predict(pixels, instruction)
    shown = apply_effect(pixels, probability, effect=effect, threshold=threshold, crop=crop)
    done, data = cv2.imencode(out.suffix, cv2.cvtColor(shown.image, cv2.COLOR_RGB2BGR))
    assert done, shown.image.shape
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, data.tobytes())
    return shown
