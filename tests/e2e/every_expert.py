"""A panel of every expert with weights, each a tiny model of random parameters in its own format, plus chat experts.

`python -m tests.e2e.every_expert FOLDER` writes the models and FOLDER/every.yaml, a recipe over `source.path`; with a
scripted or real server in MASKMIX_CHAT_* `maskmix build --recipe FOLDER/every.yaml` then runs all of them. The masks
mean nothing; that every expert is asked, answers, is recorded and paid for, is what can be seen.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from tests.annotators.chat.tiny_chat_model import save_chat_model
from tests.annotators.models import tiny_models
from tests.annotators.sam import tiny_hf_sam, tiny_sam

SAM_KINDS = ("sam", "sam_hq", "sam2", "sam3_tracker")
DETECTORS = ("grounding_dino", "mm_grounding_dino", "owlv2", "florence2")


def save_models(folder: Path) -> dict[str, str]:
    """Write every tiny model under `folder`: name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {
        kind: tiny_models.save(kind, folder / kind) for kind in (*DETECTORS, "clipseg", "clip")
    }
    made |= {
        f"hf_{kind}": tiny_hf_sam.save_tiny(kind, folder / f"hf_{kind}")
        for kind in (*SAM_KINDS, "sam3")
    }
    made["sam_pth"] = tiny_sam.save(tiny_sam.tiny_sam(), folder / "sam_tiny.pth")
    made["chat"] = save_chat_model(folder / "chat")
    return {name: str(path) for name, path in made.items()}


def panel(models: dict[str, str], *, pooled: Collection[str] = ()) -> dict[str, Any]:
    """Stages with every expert; those that run the models named in `pooled` have actor pools of their own on Ray."""

    def use(name: str, model: str, **options: Any) -> dict[str, Any]:
        entry: dict[str, Any] = {"use": name, "options": {"model": models[model], **options}}
        return entry | ({"resources": {"cpus": 0}} if model in pooled else {})

    return {
        "rewrite": {"experts": [{"use": "chat"}, use("local", "chat", max_tokens=16), {"use": "rules"}]},
        "ground": {
            "experts": [
                use("grounding_dino", "grounding_dino", max_boxes=2),
                use("grounding_dino", "mm_grounding_dino", max_boxes=2),
                use("owlv2", "owlv2", max_boxes=2),
                use("florence2", "florence2", max_boxes=2, max_new_tokens=24),
                use("open_vocab", "clip", of="owlv2", of_options={"model": models["owlv2"], "max_boxes": 2}),
                {"use": "vlm_box", "options": {"image_side": 256}},
                {"use": "regions"},
            ]
        },
        "segment": {
            "experts": [
                use("sam", "sam_pth"),
                *(use("sam_hf", f"hf_{kind}") for kind in SAM_KINDS),
                use("sam3", "hf_sam3", threshold=0.3),
                use("clipseg", "clipseg"),
                use("clip_regions", "clip", sam=models["sam_pth"], points_per_side=3, least_area=0.0, most_box_iou=1.0,
                    least_predicted_iou=-99.0, least_stability=0.0, margin=1e-6),
                {"use": "grabcut"},
                {"use": "colour"},
            ]
        },
        "fuse": {"rule": "staple"},
        "score": {"verifiers": [{"use": "vlm_verifier", "options": {"image_side": 256}}]},
        "keep": {"empty": "keep"},
    }  # fmt: skip


def main() -> None:
    """Write models and recipe into the folder named on the command line."""
    folder = Path(sys.argv[1]).absolute()
    models = save_models(folder)
    raw = {
        "name": "every",
        "unit_size": 16,
        "source": {"kind": "coco"},
        "stages": panel(models, pooled=models),
    }
    (folder / "every.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


if __name__ == "__main__":
    main()
