"""Sample <-> tar members. The wire format (data_cards/FORMAT.md) is known here and in the schema alone.

A committed sample is three members, in this order: `{id}.jpg` (or `.png`), `{id}.mask.png`, `{id}.json`. Every JSON
field is always present and always of one type, so that readers which infer a schema from the first rows cannot
truncate, drop or miscast later ones.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.label import Label, Quality
from annotators.masks import Mask
from pipeline.records import Candidate, Phrase, Proposal, Provenance, Sample, SourceRef
from pipeline.schema import check_fields, parse_json

ImageFormat = Literal["jpg", "png"]
MASK_SUFFIX = "mask.png"
JSON_SUFFIX = "json"
FORMAT_VERSION = 2


def encode_sample(sample: Sample, image_format: ImageFormat) -> list[tuple[str, bytes]]:
    """The members of a finished sample as (suffix, bytes), in the order they are written.

    Raises:
        ValueError: the sample has no label yet, its image bytes are not of `image_format`, or a value has no place in
            JSON (NaN, half a surrogate pair).
    """
    if sample.label is None:
        raise ValueError(f"sample {sample.id!r} has no label; only finished samples are written")
    if sniff(sample.image) != image_format:
        raise ValueError(
            f"sample {sample.id!r} holds {sniff(sample.image)} bytes; this dataset stores {image_format}"
        )
    try:
        fields = _to_json(sample)
        _refuse(check_fields(fields))  # never write what no reader takes
        text = _dump(fields).encode()
    except (ValueError, TypeError) as error:
        raise ValueError(f"sample {sample.id!r} cannot be written: {error}") from error
    return [
        (image_format, sample.image),
        (MASK_SUFFIX, encode_mask_png(sample.label.mask)),
        (JSON_SUFFIX, text),
    ]


def decode_sample(key: str, members: Mapping[str, bytes | memoryview]) -> Sample:
    """The inverse of `encode_sample`.

    Raises:
        ValueError: a member is missing, unknown or damaged; the message names the sample and the member.
    """
    formats = [suffix for suffix in ("jpg", "png") if suffix in members]
    if len(formats) != 1 or set(members) != {formats[0], MASK_SUFFIX, JSON_SUFFIX}:
        raise ValueError(
            f"sample {key!r} has members {sorted(members)}; expected jpg or png, mask.png and json"
        )
    fields = decode_json(key, members[JSON_SUFFIX])
    if fields["id"] != key:
        raise ValueError(f"sample {key!r} says its id is {fields['id']!r}")
    mask = decode_mask_png(key, members[MASK_SUFFIX])
    image = bytes(members[formats[0]])
    if sniff(image) != formats[0]:
        raise ValueError(f"sample {key!r}: {formats[0]} member holds {sniff(image)} bytes")
    try:
        return _from_json(fields, image, mask)
    except (ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"sample {key!r}: json member contradicts itself: {error}") from error


def decode_json(key: str, data: bytes | memoryview) -> dict[str, Any]:
    """The json member as a dict, held against `pipeline.schema`.

    Raises:
        ValueError: not JSON, of another format, or a field is missing, unknown or of another type.
    """
    try:
        fields = parse_json(bytes(data))
    except ValueError as error:
        raise ValueError(f"sample {key!r}: json member is damaged: {error}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT_VERSION:
        raise ValueError(f"sample {key!r}: json member is not of format {FORMAT_VERSION}")
    try:
        _refuse(check_fields(fields))
    except ValueError as error:
        raise ValueError(
            f"sample {key!r}: json member does not follow FORMAT.md: {error}"
        ) from None
    return fields


def encode_mask_png(mask: NDArray[np.uint8]) -> bytes:
    """A grey 8-bit PNG of the uint8 (h, w) mask."""
    done, data = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert done, mask.shape
    return data.tobytes()


def decode_mask_png(key: str, data: bytes | memoryview) -> NDArray[np.uint8]:
    """uint8 (h, w) from a grey 8-bit PNG.

    Raises:
        ValueError: not a readable single-channel 8-bit PNG.
    """
    png = sniff(bytes(data[:8])) == "png"
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"sample {key!r}: mask.png is not a readable 8-bit grey PNG")
    return np.asarray(mask, np.uint8)


def gold_of(fields: Mapping[str, Any]) -> Mask | None:
    """The gold mask of a json member, whatever its role; None when nobody drew one."""
    return _mask(fields["gold"]) if fields["gold_role"] else None


def wordings_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """`Sample.wordings` of a json member."""
    enriched = [p["text"] for p in fields["phrases"] if p["role"] == "enriched"]
    return tuple(dict.fromkeys((*fields["instructions"], *enriched)))


def sniff(image: bytes) -> str:
    """The format of image bytes, from the first of them: "jpg", "png" or "unknown"."""
    if image[:3] == b"\xff\xd8\xff":
        return "jpg"
    return "png" if image[:8] == b"\x89PNG\r\n\x1a\n" else "unknown"


def _to_json(s: Sample) -> dict[str, Any]:
    assert s.label is not None
    source = s.source
    return {
        "format": FORMAT_VERSION,
        "id": s.id,
        "height": s.size_hw[0],
        "width": s.size_hw[1],
        "instructions": list(s.instructions),
        "style": s.style,
        "source": {
            "dataset": source.dataset, "split": source.split, "key": source.key, "licence": source.licence,
            "url": source.url, "image_sha256": source.image_sha256, "transcoded": source.transcoded,
        },
        "gold_role": s.gold_role if s.gold is not None else "",
        "gold": _rle(s.gold),
        "label": {
            "kind": s.label.kind, "rule": s.label.rule, "members": list(s.label.members),
            "box": [float(v) for v in s.label.box or ()], "area": s.label.area,
        },
        "quality": {
            "score": float(s.quality.score) if s.quality else 0.0,
            "rule": s.quality.rule if s.quality else "",
            "parts": [{"name": n, "value": float(v)} for n, v in (s.quality.parts if s.quality else ())],
        },
        "phrases": [
            {
                "text": p.text, "role": p.role, "made_by": p.made_by, "model": p.model,
                "prompt_version": p.prompt_version, "count": p.count, "relation": p.relation,
            }
            for p in s.phrases or ()
        ],
        "proposals": [
            {"box": [float(v) for v in p.box], "phrase": p.phrase, "score": float(p.score), **_provenance(p.made_by)}
            for p in s.proposals or ()
        ],
        "candidates": [
            {
                "mask": _rle(c.mask), "phrase": c.phrase, "proposal": -1 if c.proposal is None else c.proposal,
                "mask_score": float(c.mask_score), "stability": float(c.stability), "boxed_by": c.boxed_by,
                **_provenance(c.made_by),
            }
            for c in s.candidates or ()
        ],
        "faults": list(s.faults),
        "extra": _dump(dict(s.extra)),
    }  # fmt: skip


def _from_json(f: dict[str, Any], image: bytes, mask: NDArray[np.uint8]) -> Sample:
    label, quality = f["label"], f["quality"]
    return Sample(
        id=f["id"],
        image=image,
        size_hw=(f["height"], f["width"]),
        instructions=tuple(f["instructions"]),
        source=SourceRef(**f["source"]),
        style=f["style"],
        gold=gold_of(f),
        gold_role=f["gold_role"] or "train",
        phrases=tuple(Phrase(**p) for p in f["phrases"]),
        proposals=tuple(
            Proposal(box=tuple(p["box"]), phrase=p["phrase"], score=p["score"], made_by=_made_by(p))
            for p in f["proposals"]
        ),
        candidates=tuple(
            Candidate(
                mask=_mask(c["mask"]),
                phrase=c["phrase"],
                proposal=None if c["proposal"] < 0 else c["proposal"],
                mask_score=c["mask_score"],
                stability=c["stability"],
                made_by=_made_by(c),
                boxed_by=c["boxed_by"],
            )
            for c in f["candidates"]
        ),
        label=Label(
            mask=mask, kind=label["kind"], members=tuple(label["members"]), rule=label["rule"]
        ),
        quality=Quality(
            score=quality["score"],
            parts=tuple((p["name"], p["value"]) for p in quality["parts"]),
            rule=quality["rule"],
        )
        if quality["rule"]
        else None,
        faults=tuple(f["faults"]),
        extra=tuple(parse_json(f["extra"]).items()),
    )


def _refuse(departures: Iterable[str]) -> None:
    if found := "; ".join(islice(departures, 3)):
        raise ValueError(found)


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _provenance(p: Provenance) -> dict[str, Any]:
    return {
        "expert": p.expert, "model": p.model, "revision": p.revision, "prompt_version": p.prompt_version,
        "score_raw": float(p.score_raw), "config_hash": p.config_hash,
    }  # fmt: skip


def _made_by(f: Mapping[str, Any]) -> Provenance:
    names = ("expert", "model", "revision", "prompt_version", "score_raw", "config_hash")
    return Provenance(**{name: f[name] for name in names})


def _rle(mask: Mask | None) -> dict[str, Any]:
    return (
        {"size": list(mask.size_hw), "counts": mask.counts} if mask else {"size": [], "counts": ""}
    )


def _mask(f: Mapping[str, Any]) -> Mask:
    return Mask(size_hw=(f["size"][0], f["size"][1]), counts=f["counts"])
