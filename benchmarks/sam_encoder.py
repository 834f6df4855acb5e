"""SAM's image encoder (ViT-B, random parameters, 1024 pixels) against segment-anything's own, same parameters.

Run: python -m benchmarks.sam_encoder (about five minutes, compiling included). Targets on one thread: 1.2 times the
images per CPU-second with float32 products and embeddings within 1e-5, 2.2 times with bfloat16 products and
torch.compile and mask IoU of at least 0.999. On a CUDA device, by wall clock, with 8 images at once, against the peer
in float32: 7.6 times, what segment-anything-fast published.

A random decoder puts the most pixels right at the threshold, where a trained one puts the fewest. Masks are therefore
cut one standard deviation below the mean of the logits; the IoU without that shift is printed beside it.
"""

from functools import partial
from typing import Any

import torch
from segment_anything import sam_model_registry
from sklearn.datasets import load_sample_image

from annotators.sam.encoder import SamEncoder
from annotators.sam.masks_from_logits import Frame, enlarge
from annotators.sam.prompted import frame_of, prepared
from benchmarks.ratio import compare, run, say

CUDA = torch.cuda.is_available()
IMAGES = 8 if CUDA else 1
BOXES = ((60, 100, 400, 420), (0, 0, 1023, 682), (500, 300, 900, 600))
"""In pixels of the prepared image."""


def vit_b() -> Any:
    """ViT-B with all parameters drawn, the tables of positions too, which a new model has at zero."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval()
    with torch.no_grad():
        sam.image_encoder.pos_embed.normal_(std=0.2)
        for block in sam.image_encoder.blocks:
            block.attn.rel_pos_h.normal_(std=0.2)
            block.attn.rel_pos_w.normal_(std=0.2)
    return sam.to("cuda" if CUDA else "cpu")


def photographs(device: Any) -> tuple[Any, Frame]:
    """scikit-learn's photograph of 427 x 640 pixels, prepared (n, 3, 1024, 1024), and how it lies there."""
    image = load_sample_image("china.jpg")
    frame = frame_of(image, 1024)
    return prepared(image, frame, device).expand(IMAGES, 3, 1024, 1024).contiguous(), frame


def measure(*, dtype: Any, compiled: bool, target: float) -> bool:
    """One form of our encoder."""
    torch.set_num_threads(1)
    sam = vit_b()
    pixels, frame = photographs(sam.device)
    encoder = SamEncoder(sam.image_encoder, dtype=dtype, compiled=compiled)

    def answer(encode: Any) -> Any:
        with torch.inference_mode():
            return encode(pixels).cpu()

    last: list[Any] = []

    def same(ours: Any, theirs: Any) -> bool:
        last[:] = [ours, theirs]
        if dtype == torch.float32:
            return float((ours - theirs).abs().max()) <= (1e-3 if CUDA else 1e-5)
        return least_iou(sam, ours, theirs, frame, shift=1.0) >= 0.999

    form = f"{'bfloat16' if dtype == torch.bfloat16 else 'float32'}{' + compile' * compiled}"
    reached = compare(
        f"SAM ViT-B encoder, {form}, on {torch.cuda.get_device_name() if CUDA else 'one CPU thread'}",
        ours=partial(answer, encoder),
        peer=partial(answer, sam.image_encoder),
        peer_name="segment-anything",
        same=same,
        target=target,
        units=IMAGES,
        unit="images",
        rounds=3,
        on_gpu=CUDA,
    )
    ours, theirs = last
    error = float((ours - theirs).std() / theirs.std())
    at_once, shifted = (least_iou(sam, ours, theirs, frame, shift=shift) for shift in (0.0, 1.0))
    say(
        f"  embeddings: largest difference {float((ours - theirs).abs().max()):.1e}, relative {error:.1e}"
    )
    say(f"  least mask IoU {shifted:.5f}, without the shift of the logits {at_once:.5f}")
    return reached


def least_iou(sam: Any, ours: Any, theirs: Any, frame: Frame, *, shift: float) -> float:
    """Least IoU of the masks of all boxes, at the size of the image, from two embeddings of the first image.

    Masks are cut `shift` deviations of the logits below their mean; at 0 when `shift` is 0.
    """
    with torch.inference_mode():
        boxes = torch.tensor(BOXES, dtype=torch.float32, device=sam.device)
        sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
        mine, other = (
            sam.mask_decoder(
                image_embeddings=embedding[:1].to(sam.device),
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )[0].flatten(0, 1)
            for embedding in (ours, theirs)
        )
        ious = []
        for a, b in zip(enlarge(mine, frame), enlarge(other, frame), strict=True):
            cut = float(b.mean() - shift * b.std()) if shift else 0.0
            ious.append(float(((a > cut) & (b > cut)).sum() / ((a > cut) | (b > cut)).sum()))
        return min(ious)


FORMS = (
    partial(measure, dtype=torch.float32, compiled=False, target=1.2),
    partial(measure, dtype=torch.bfloat16, compiled=True, target=7.6 if CUDA else 2.2),
)

if __name__ == "__main__":
    run(*FORMS)
