"""Which file an original SAM checkpoint is, and where it is to be had; loads nothing."""

from pathlib import Path

NAMES = ("sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth", "sam_vit_h_4b8939.pth")
"""Published by the authors: ViT-B (375 MB), L (1.2 GB) and H (2.4 GB)."""
SOURCE = "https://dl.fbaipublicfiles.com/segment_anything/"


def checkpoint_file(model: str) -> Path:
    """The file that `model` names.

    Raises:
        ValueError: there is no such file; the message says how to get it.
    """
    path = Path(model).expanduser()
    if not path.exists():
        raise refused(path, "there is no such file")
    if not path.is_file():
        raise refused(path, "it is a folder")
    return path


def refused(path: Path, why: str) -> ValueError:
    """The one wording of what is wrong with a checkpoint."""
    name = path.name if path.name in NAMES else NAMES[0]
    return ValueError(
        f"SAM checkpoint {path}: {why}; expected one of the original files {', '.join(NAMES)}: "
        f"`wget {SOURCE}{name}` and give its path (a folder or a name of the hub is for the experts that load "
        f"through transformers)"
    )
