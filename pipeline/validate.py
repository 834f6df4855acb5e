"""`verify`: does a dataset folder keep every promise of data_cards/FORMAT.md?

A tar reader takes a cut or flipped archive for a shorter one, so this compares everything with the hashes and counts
of the receipts, the receipts with the manifest, and what samples say about themselves with their own bytes. It reads
only, finds all problems rather than the first, and says of each what to do.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import RootModel, ValidationError

from pipeline.codec import ImageFormat
from pipeline.config import StagesConfig, recipe_hash
from pipeline.index import index_row, index_table, read_index
from pipeline.manifest import (
    MANIFEST,
    Manifest,
    Receipt,
    read_manifest,
    shard_name,
    total,
)
from pipeline.sample_check import check_sample
from pipeline.shards import BLOCK, read_shard

PLAN = "plan.json"
PER_FILE = 20
"""Problems told of one shard at most."""
RECEIPT = re.compile(r"([a-z][a-z0-9_]{0,31})-(\d{6,})\.json")
REJECT_FIELDS = {"sample_id", "stage", "reason", "detail"}

RESTORE = "restore it, or delete it with its receipt and run the build again"
FINISH = "delete it and run the build again with the same recipe: it is written from the receipts"
REMOVE = "delete it, or move it out of the dataset"
REBUILD = "restore the folder, or build it again in an empty one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One broken promise: the file under the dataset folder, what is wrong with it, and what to do."""

    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` found. Counts are of what was read and found whole."""

    root: Path
    problems: tuple[Problem, ...]
    units: int
    shards: int
    samples: int
    gold: int
    """Samples that carry a human's mask, whatever its role."""
    empty: int
    """Samples whose label is empty."""
    size: int
    """Bytes of the shards."""

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(slots=True, kw_only=True)
class _Found:
    """What one pass has seen so far."""

    problems: list[Problem] = field(default_factory=list)
    split: str = "train"
    ids: dict[str, str] = field(default_factory=dict)
    bad_shards: set[str] = field(default_factory=set)
    index: list[pa.Table] = field(default_factory=list)
    shards: int = 0
    gold: int = 0
    empty: int = 0
    size: int = 0

    def add(self, file: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(file=file, what=what, remedy=remedy))


def verify(root: Path, *, decode: bool = True) -> Report:
    """Check a finished dataset folder against its own receipts and FORMAT.md.

    `decode=False` leaves out decoding images, masks and run-length codes; hashes, counts and types are always checked.
    """
    found = _Found()
    manifest = _manifest(root, found)
    receipts = _receipts(root, manifest, found)
    if manifest:
        _against_manifest(root, manifest, receipts, found)
    image_format: ImageFormat | None = None
    if manifest:
        image_format = "png" if manifest.recipe.get("image_format") == "png" else "jpg"
    for receipt in receipts:
        _rejects(root, receipt, found)
        if receipt.shard:
            _shard(root, receipt, image_format, decode, found)
    _strays(root, receipts, found)
    if receipts:
        _index(root, found)
        _sidecars(root, found)
    return Report(
        root=root,
        problems=tuple(found.problems),
        units=len(receipts),
        shards=found.shards,
        samples=len(found.ids),
        gold=found.gold,
        empty=found.empty,
        size=found.size,
    )


def _manifest(root: Path, found: _Found) -> Manifest | None:
    try:
        manifest = read_manifest(root)
    except ValueError as error:
        found.add(MANIFEST, str(error), FINISH if (root / MANIFEST).exists() else REBUILD)
        return None
    recipe = manifest.recipe
    if recipe_hash(RootModel[dict[str, Any]](recipe)) != manifest.recipe_hash:
        found.add(MANIFEST, "its recipe does not give its recipe_hash: it was edited", FINISH)
    seated = [(entry.stage, entry.position) for entry in manifest.panel]
    if seated != _places(recipe):
        found.add(MANIFEST, "its panel is not that of its recipe: it was edited", FINISH)
    for name in ("name", "split"):
        if getattr(manifest, name) != recipe.get(name):
            found.add(MANIFEST, f"{name} is not the {name} of its recipe: it was edited", FINISH)
    return manifest


def _places(recipe: Mapping[str, Any]) -> list[tuple[str, int]]:
    """(stage, position) of every expert that a recipe names, in the order of the line."""
    places: list[tuple[str, int]] = []
    for stage in StagesConfig.model_fields:
        config = (recipe.get("stages") or {}).get(stage) or {}
        uses = [*config.get("experts", []), *config.get("verifiers", []), *config.get("judges", [])]
        places += [(stage, position) for position in range(len(uses))]
    return places


def _receipts(root: Path, manifest: Manifest | None, found: _Found) -> list[Receipt]:
    """The readable receipts in unit order; tells of those that are not, and of gaps between them."""
    receipts: dict[int, Receipt] = {}
    splits: set[str] = set()
    for path in sorted((root / "receipts").glob("*.json")):
        file, name = f"receipts/{path.name}", RECEIPT.fullmatch(path.name)
        try:
            receipt = Receipt.model_validate_json(path.read_bytes())
            receipt.check()
        except (OSError, ValueError) as error:
            found.bad_shards.add(f"shards/{path.stem}.tar")
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            found.add(file, f"is not a sound receipt: {why}", RESTORE)
            continue
        if not name or f"{receipt.unit:06d}" != name[2]:
            found.add(file, f"says it is of unit {receipt.unit}", REMOVE)
            continue
        found.split = name[1]
        splits.add(name[1])
        if receipt.shard != (shard_name(name[1], receipt.unit) if receipt.committed else ""):
            found.add(
                file, f"names shard {receipt.shard!r} for {receipt.committed} samples", REBUILD
            )
            continue
        receipts[receipt.unit] = receipt
    hashes = {r.recipe_hash for r in receipts.values()}
    hashes |= {manifest.recipe_hash} if manifest else set()
    if len(hashes) > 1:
        shown = ", ".join(sorted(h[:12] for h in hashes))
        found.add("receipts", f"are of {len(hashes)} recipes ({shown})", REBUILD)
    if len(splits) > 1:
        found.add("receipts", f"are of splits {', '.join(sorted(splits))}; expected one", REBUILD)
    units = manifest.units if manifest else max(receipts, default=-1) + 1
    missing = list(islice((unit for unit in range(units) if unit not in receipts), 1000))
    if missing:
        found.bad_shards |= {shard_name(found.split, unit) for unit in missing}
        shown = ", ".join(map(str, missing[:10]))
        found.add("receipts", f"units {shown} have no receipt", "run the build again")
    if not receipts and not missing:
        found.add("receipts", "there are none", REBUILD)
    return [receipts[unit] for unit in sorted(receipts)]


def _against_manifest(
    root: Path, manifest: Manifest, receipts: list[Receipt], found: _Found
) -> None:
    beyond = [r.unit for r in receipts if r.unit >= manifest.units]
    if beyond:
        found.add("receipts", f"units {beyond[:10]} are beyond the {manifest.units} units", REMOVE)
    if manifest.shards != [r.shard for r in receipts if r.shard]:
        found.add(MANIFEST, "its shards are not those of the receipts", FINISH)
    if manifest.totals != (totals := total(receipts)):
        odd = [n for n, v in totals if v != getattr(manifest.totals, n)]
        found.add(MANIFEST, f"its totals of {', '.join(odd)} are not the receipts' sums", FINISH)
    if (root / PLAN).exists():
        try:
            plan = json.loads((root / PLAN).read_bytes())
            panel = [entry.model_dump() for entry in manifest.panel]
            ours = (manifest.recipe_hash, manifest.totals.inputs, manifest.units, panel)
            same = tuple(plan[k] for k in ("recipe_hash", "inputs", "units", "panel")) == ours
        except (ValueError, KeyError, TypeError) as error:
            found.add(PLAN, f"is not readable: {error!r}", REBUILD)
        else:
            if not same:
                found.add(
                    PLAN,
                    "names another recipe, other counts or another panel than the manifest",
                    REBUILD,
                )


def _shard(
    root: Path, receipt: Receipt, image_format: ImageFormat | None, decode: bool, found: _Found
) -> None:
    path, file = root / receipt.shard, receipt.shard
    wrong: list[tuple[str, str]] = []
    rows, keys = [], []
    seen: dict[str, Counter[str]] = {"licences": Counter(), "faults": Counter()}
    gold = 0
    try:
        with open(path, "rb") as raw:
            for key, members in read_shard(path, sha256=receipt.sha256, count=receipt.committed):
                keys.append(key)
                if key in found.ids:
                    wrong.append((f"sample {key} is in {found.ids[key]} too", REBUILD))
                found.ids[key] = file
                image_format = image_format or ("png" if "png" in members else "jpg")
                fields, odd = check_sample(key, members, image_format=image_format, decode=decode)
                wrong += [(what, RESTORE) for what in odd]
                offset = receipt.offsets.get(key, -1)
                if not _header_is_at(raw, offset, f"{key}.{image_format}"):
                    wrong.append((f"sample {key} is not at offset {offset} of the receipt", REBUILD))  # fmt: skip
                if fields is None or odd:
                    continue
                rows.append(index_row(fields, shard=file, offset=offset))
                found.gold += bool(fields["gold_role"])
                found.empty += not fields["label"]["area"]
                gold += fields["gold_role"] == "train"
                seen["licences"][fields["source"]["licence"]] += 1
                seen["faults"].update(fault.partition(":")[0] for fault in fields["faults"])
    except FileNotFoundError:
        wrong.append(("is missing although its receipt stands", RESTORE))
    except (OSError, ValueError) as error:
        wrong.append((str(error).removeprefix(f"shard {path} "), RESTORE))
    if wrong:
        found.bad_shards.add(file)
    else:
        found.shards += 1
        found.size += receipt.size
        if path.stat().st_size != receipt.size or keys != list(_by_offset(receipt.offsets)):
            wrong.append(("its size or order is not that of its receipt", RESTORE))
        told = {"licences": receipt.licences, "faults": receipt.faults}
        odd = [name for name, counts in seen.items() if dict(counts) != told[name]]
        for name in [*odd, *(["gold"] if gold != receipt.gold else [])]:
            wrong.append((f"its receipt counts other {name} than its samples have", REBUILD))
    for what, remedy in wrong[:PER_FILE]:
        found.add(file, what, remedy)
    if len(wrong) > PER_FILE:
        found.add(file, f"has {len(wrong) - PER_FILE} problems more", RESTORE)
    found.index.append(index_table(rows))


def _rejects(root: Path, receipt: Receipt, found: _Found) -> None:
    path = root / "rejects" / f"{found.split}-{receipt.unit:06d}.jsonl"
    file = f"rejects/{path.name}"
    reasons: Counter[str] = Counter()
    try:
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            item = json.loads(line)
            if set(item) != REJECT_FIELDS or not all(isinstance(v, str) for v in item.values()):
                raise ValueError(f"a line has {sorted(item)}; expected {sorted(REJECT_FIELDS)}")
            reasons[f"{item['stage']}/{item['reason']}"] += 1
    except (OSError, ValueError, TypeError) as error:
        found.add(file, f"is not readable: {error}", RESTORE)
        return
    quarantined = sum(n for reason, n in reasons.items() if reason.startswith("quarantine/"))
    rejected = {r: n for r, n in reasons.items() if not r.startswith("quarantine/")}
    if rejected != receipt.rejected or quarantined != receipt.quarantined:
        found.add(file, "does not hold what the receipt of its unit counts", RESTORE)


def _strays(root: Path, receipts: list[Receipt], found: _Found) -> None:
    told = {problem.file for problem in found.problems}
    units = {f"{found.split}-{r.unit:06d}" for r in receipts}
    units |= {Path(file).stem for file in told if file.startswith("receipts/")}
    known = told | {r.shard for r in receipts} | {f"index/{found.split}.parquet"}
    for unit in units:
        known |= {f"receipts/{unit}.json", f"rejects/{unit}.jsonl"}
        known |= {f"shards/{unit}.tar"} if f"receipts/{unit}.json" in told else set()
    for folder in ("", "shards", "receipts", "rejects", "index", "sidecars"):
        for path in sorted((root / folder).glob("*")):
            file = f"{folder}/{path.name}".lstrip("/")
            if path.name.startswith(".") and path.name.endswith(".tmp"):
                found.add(file, "was left by an interrupted writer", "delete it")
            elif folder not in ("", "sidecars") and file not in known:
                found.add(file, "belongs to no committed unit", REMOVE)


def _index(root: Path, found: _Found) -> None:
    file = f"index/{found.split}.parquet"
    try:
        table = read_index(root, found.split)
    except ValueError as error:
        found.add(file, str(error), FINISH)
        return
    ours = pa.concat_tables(found.index) if found.index else index_table([])
    if found.bad_shards:  # of a damaged shard nothing is known, and it has been told of
        whole = pa.array({*table["shard"].to_pylist()} - found.bad_shards, pa.string())
        table = table.filter(pc.field("shard").isin(whole))
        ours = ours.filter(pc.field("shard").isin(whole))
    if not table.equals(ours):
        found.add(file, "does not say what the shards hold", FINISH)


def _sidecars(root: Path, found: _Found) -> None:
    for path in sorted((root / "sidecars").glob("[!.]*.parquet")):
        file = f"sidecars/{path.name}"
        try:
            ids = pq.ParquetFile(path).read(columns=["sample_id"])["sample_id"].to_pylist()
        except (OSError, KeyError, pa.ArrowException) as error:
            found.add(file, f"is not readable: {error}", "make it again")
            continue
        unknown = set(ids) - found.ids.keys()
        if unknown and not found.bad_shards:
            shown = ", ".join(sorted(map(str, unknown))[:3])
            found.add(file, f"speaks of {len(unknown)} samples not here ({shown})", "make it again")


def _header_is_at(raw: Any, offset: int, name: str) -> bool:
    if offset < 0 or offset % BLOCK:
        return False
    raw.seek(offset)
    return raw.read(100).rstrip(b"\0") == name.encode()


def _by_offset(offsets: Mapping[str, int]) -> list[str]:
    return sorted(offsets, key=offsets.__getitem__)
