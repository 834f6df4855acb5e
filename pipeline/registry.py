"""Sources and stages by name: literal dicts, imported on use."""

import importlib
from typing import Any

from annotators.registry import unknown

SOURCES: dict[str, str] = {
    "camvid": "pipeline.sources.camvid",
    "coco": "pipeline.sources.coco",
    "concat": "pipeline.sources.concat",
    "episodes": "pipeline.sources.episodes",
    "folder": "pipeline.sources.folder",
    "ivm_mix": "pipeline.sources.ivm_mix",
    "jsonl": "pipeline.sources.jsonl",
    "llava": "pipeline.sources.llava",
    "photos": "pipeline.sources.photos",
    "refcoco": "pipeline.sources.refcoco",
    "shards": "pipeline.sources.shards",
    "table": "pipeline.sources.table",
    "tabletop": "pipeline.sources.tabletop",
}
"""Source kind -> module with `Config` and `make(config, image_format) -> Source`."""


def source_module(kind: str) -> Any:
    """The module of a source kind.

    Raises:
        ValueError: the kind is unknown; the message lists those that are known.
    """
    if kind not in SOURCES:
        raise ValueError(unknown("source kind", kind, sorted(SOURCES)))
    return importlib.import_module(SOURCES[kind])
