"""The dataset card: README.md, written from the manifest and the index.

Its YAML head is what makes a folder, or a repository with the same files, load: one tar config, and the features
spelled out with the number of samples, so that `datasets` neither guesses types from the first rows nor takes a cut
shard for a shorter one. The parquet index stays undeclared, because all configs of a repository share one format.
"""

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from pipeline.codec import ImageFormat
from pipeline.config import StagesConfig
from pipeline.features import hf_features
from pipeline.index import read_index
from pipeline.manifest import Manifest, read_manifest
from pipeline.shards import write_atomic

CARD = "README.md"
TEMPLATE = "templates/card.md.j2"
UNKNOWN = "unknown"

HUB_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0
intel-research isc lgpl lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 osl-3.0 pddl
postgresql unknown unlicense wtfpl zlib
"""
"""Identifiers that the Hub knows (hub-docs, repositories-licenses); any other licence becomes `other`."""

SIZES = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"))


def write_card(root: Path) -> Path:
    """Write README.md of a finished dataset, replacing an older one; the same dataset gives the same bytes.

    Raises:
        ValueError: the dataset has no manifest or no index.
    """
    manifest = read_manifest(root)
    index = read_index(root, manifest.split)
    size = sum((root / shard).stat().st_size for shard in manifest.shards)
    text = render_card(manifest, index, shard_bytes=size)
    write_atomic(root / CARD, text.encode())
    return root / CARD


def render_card(manifest: Manifest, index: pa.Table, *, shard_bytes: int) -> str:
    """The card as Markdown with its YAML head."""
    totals = manifest.totals

    def column(name: str) -> NDArray[np.float64]:
        return index[name].to_numpy().astype(np.float64)

    area = column("area")
    return fill_template(
        resources.files("pipeline").joinpath(TEMPLATE).read_text(),
        head=card_head(manifest, shard_bytes=shard_bytes),
        manifest=manifest,
        image_format=_image_format(manifest),
        totals=totals,
        rejected=sum(totals.rejected.values()),
        roles=_counts(index, "gold_role"),
        styles=_counts(index, "style"),
        sources=_pairs(index, "dataset", "licence"),
        empty=int((area == 0).sum()),
        share=_quartiles(area / (column("height") * column("width"))),
        score=_quartiles(column("score")),
        sizes=(_range(column("width")), _range(column("height"))),
        experts=_experts(manifest.recipe),
        weights=_weights(manifest),
        unlicensed=[
            model for model, revision, licence, _ in _weights(manifest) if revision and licence in ("", UNKNOWN)
        ],
        stages=_stages(manifest.recipe),
        recipe=yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True, width=100),
    )  # fmt: skip


def fill_template(template: str, **values: Any) -> str:
    """A Markdown template of Jinja with its values; `cell` makes text fit a cell of a table, a missing value raises."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = _cell
    return environment.from_string(template).render(**values)


def card_head(manifest: Manifest, *, shard_bytes: int) -> str:
    """The YAML head, without its `---` lines."""
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    split, samples = manifest.split, manifest.totals.committed
    licence, named = hub_licence(manifest.totals.licences)
    annotators = ["machine-generated", *(["found"] if manifest.totals.gold else [])]
    data = DatasetCardData(
        pretty_name=manifest.name,
        license=licence,
        task_categories=["image-segmentation"],
        annotations_creators=annotators,
        size_categories=[size_category(samples)],
        tags=["maskmix", "webdataset", "referring-expression-segmentation"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"shards/{split}-*.tar"}],
            }
        ],
    )
    if named:
        data["license_name"] = named
    info = DatasetInfo(
        features=hf_features(_image_format(manifest)),
        splits=SplitDict({split: SplitInfo(name=split, num_bytes=shard_bytes, num_examples=samples)}),
        download_size=shard_bytes,
        dataset_size=shard_bytes,
    )  # fmt: skip
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    return data.to_yaml()


def hub_licence(licences: Mapping[str, int]) -> tuple[str | list[str], str]:
    """The Hub's identifier, or a sorted list of them, for the licences of the samples, and a `license_name`.

    >>> hub_licence({"CC BY 4.0": 3})
    ('cc-by-4.0', '')
    >>> hub_licence({"cc-by-4.0": 3, "Flickr terms": 1})
    (['cc-by-4.0', 'other'], 'flickr-terms')
    """
    slugs = {"-".join(name.lower().replace("_", "-").split()) or "unknown" for name in licences}
    on_hub = frozenset(HUB_LICENCES.split())
    others = sorted(slugs - on_hub)
    known = sorted(slugs & on_hub) + (["other"] if others else [])
    named = others[0] if len(others) == 1 else ("several" if others else "")
    return (known[0] if len(known) == 1 else known or "unknown"), named


def size_category(samples: int) -> str:
    """The Hub's size category.

    >>> [size_category(n) for n in (0, 999, 1000, 99_999_999)]
    ['n<1K', 'n<1K', '1K<n<10K', '10M<n<100M']
    """
    lower = [name for bound, name in SIZES if samples >= bound]
    names = [name for _, name in SIZES] + ["100M"]
    return f"{lower[-1]}<n<{names[len(lower)]}" if lower else "n<1K"


def _image_format(manifest: Manifest) -> ImageFormat:
    return "png" if manifest.recipe.get("image_format") == "png" else "jpg"


def _stages(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The stages in the order they run (the manifest sorts them by name); None for those left out."""
    return {name: (recipe.get("stages") or {}).get(name) for name in StagesConfig.model_fields}


def _weights(manifest: Manifest) -> list[tuple[str, str, str, str]]:
    """(model, revision, licence, experts) of every model that the panel used, each once, in the order of the line."""
    users: dict[tuple[str, str, str], list[str]] = {}
    for entry in (*manifest.inherited, *manifest.panel):
        if entry.model:
            key = (entry.model, entry.revision, entry.licence)
            if entry.expert not in users.setdefault(key, []):
                users[key].append(entry.expert)
    return [(*key, ", ".join(experts)) for key, experts in users.items()]


def _experts(recipe: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(stage, expert, options) of the panel."""
    rows = []
    for stage, config in _stages(recipe).items():
        asked = [(config or {}).get(key, []) for key in ("experts", "verifiers", "judges")]
        for use in [use for uses in asked for use in uses]:
            options = ", ".join(f"{k}={v!r}" for k, v in sorted(use["options"].items()))
            rows.append((stage, use["use"], options))
    return rows


def _counts(index: pa.Table, column: str) -> list[tuple[str, int]]:
    counts = Counter(index[column].to_pylist())
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _pairs(index: pa.Table, *columns: str) -> list[tuple[tuple[str, ...], int]]:
    counts = Counter(zip(*(index[c].to_pylist() for c in columns), strict=True))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _quartiles(values: NDArray[np.float64]) -> list[float]:
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])] if values.size else []


def _range(values: NDArray[np.float64]) -> str:
    if not values.size:
        return "none"
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _cell(text: object) -> str:
    """Text that fits one cell of a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").split()) or "(none)"
