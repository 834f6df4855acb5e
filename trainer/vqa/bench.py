"""One benchmark, one model, with and without masking: asked, read, scored, and the table printed.

`OUT/plan.json` says what is asked of whom and how images are masked; a folder holds one plan. `OUT/answers.jsonl` and
`OUT/ratings.jsonl` grow as replies come, `OUT/results.json` and `OUT/table.txt` are written at the end. The same
command goes on with a run that was cut, and asks nothing twice: replies are also in the reply cache of the endpoint.

Sources of the formats: `trainer.vqa.vstar`, `trainer.vqa.pope`, `trainer.vqa.egothink`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from annotators.chat.asker import Asker
from pipeline.shards import write_atomic
from trainer.vqa import egothink, pope, vstar
from trainer.vqa.asking import Failure, Masking, View, ask_all, judge_all, key
from trainer.vqa.egothink import Grading
from trainer.vqa.item import Item
from trainer.vqa.journal import Journal
from trainer.vqa.score import Mark, mark, means, yes_no
from trainer.vqa.table import columns_text, pope_text

Format = Literal["vstar", "pope", "egothink"]
READERS = {"vstar": vstar.read, "pope": pope.read, "egothink": egothink.read}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who grades open answers, and how it is asked."""

    asker: Asker
    grading: Grading = egothink.OURS


def check_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none.
    """
    for known in get_args(Format):
        if name == known:
            return known
    raise ValueError(f"format {name!r} is unknown; expected one of {', '.join(get_args(Format))}")


def read_items(files: Sequence[Path], format: Format, images: Path | None = None) -> list[Item]:
    """The questions of all files.

    Raises:
        ValueError: a file is missing or of another format, an image is missing, or two questions have one id.
    """
    for path in files:
        if not path.exists():
            raise ValueError(f"there is no file or folder {path}")
    items = READERS[format](files, images)
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} questions stand twice in the files, first {twice[0]!r}; give each file once"
        )
    return items


def run_bench(
    files: Sequence[Path],
    *,
    format: Format,
    asker: Asker,
    out: Path,
    masking: Masking | None = None,
    masker: str = "",
    images: Path | None = None,
    judge: Judge | None = None,
    max_tokens: int = 512,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Ask every question, score the answers, write the results.

    Args:
        files: of the published format.
        asker: the model that is asked.
        out: folder of this run; run again to go on.
        masking: how the second view is made; only the whole images are asked about when None.
        masker: what the mask comes from, for the plan and the table.
        images: folder of the images where they do not lie beside the files.
        judge: who grades; needed for egothink and for nothing else.
        max_tokens: a longer reply is no answer.
        limit: ask the first questions of the files only.
        tell: hears of the progress.

    Returns:
        What results.json holds; "table" is the text.

    Raises:
        ValueError: a file or image is missing or of another kind, or `out` holds another plan.
        Halt: an endpoint is gone or refuses everything; run again to go on.
    """
    if (judge is not None) != (format == "egothink"):
        given = "a judge" if judge else "no judge"
        raise ValueError(
            f"format {format!r} with {given}; EgoThink needs one, the others have none"
        )
    items = read_items(files, format, images)[:limit]
    plan = {
        "format": format,
        "questions": _digest(items),
        "model": asker.model,
        "masker": masker,
        "effect": masking.effect if masking else "",
        "threshold": masking.threshold if masking else 0.0,
        "crop": masking.crop if masking else False,
        "max_tokens": max_tokens,
        "judge": judge.asker.model if judge else "",
        "judge_prompt": judge.grading.version if judge else "",
    }
    _keep_plan(out, plan)
    answers = Journal(out / "answers.jsonl")
    failures = ask_all(
        items,
        asker=asker,
        masking=masking,
        journal=answers,
        max_tokens=max_tokens,
        tell=tell,
    )
    ratings = Journal(out / "ratings.jsonl")
    if judge is not None:
        failures += judge_all(
            items,
            asker=judge.asker,
            grading=judge.grading,
            answers=answers,
            journal=ratings,
            max_tokens=max_tokens,
            tell=tell,
        )
    views: dict[View, str] = {"whole": asker.model}
    if masking is not None:
        views["masked"] = f"{masker or 'mask'} + {asker.model}"
    marks: dict[View, list[Mark]] = {
        view: [_mark(format, item, view, answers, ratings) for item in items] for view in views
    }
    numbers, text = _scores(format, {views[view]: found for view, found in marks.items()})
    masked = [answers.entries.get(key(item, "masked"), {}) for item in items]
    results = {
        "plan": plan,
        "rows": numbers,
        "failed_open": sum(bool(entry.get("failed_open")) for entry in masked),
        "failures": [{"key": f.key, "why": f.why} for f in failures],
        "table": text,
    }
    _write_json(out / "results.json", results)
    write_atomic(out / "table.txt", text.encode())
    _check_sums(marks, failures)
    return results


def _mark(format: Format, item: Item, view: View, answers: Journal, ratings: Journal) -> Mark:
    entry = answers.entries.get(key(item, view))
    text = entry["text"] if entry else None
    if format == "vstar":
        return mark(item, text, None if text is None else vstar.read_choice(text, item.options))
    if format == "pope":
        said = None if text is None else pope.read_yes_no(text)
        return mark(item, text, said, published=pope.read_as_published(text) if text else "")
    rating = ratings.entries.get(key(item, view))
    if rating is None:
        return Mark(group=item.group, state="failed")
    points = egothink.read_rating(rating["text"])
    if points is None:
        return Mark(group=item.group, state="unparsed")
    return Mark(group=item.group, state="read", points=points)


def _scores(format: Format, rows: dict[str, list[Mark]]) -> tuple[dict[str, Any], str]:
    """The numbers by row, and the table."""
    if format == "vstar":
        numbers = {name: means(marks, tuple(vstar.GROUPS.values())) for name, marks in rows.items()}
        return numbers, columns_text(numbers, "Overall", "overall")
    if format == "egothink":
        numbers = {name: means(marks, egothink.GROUPS) for name, marks in rows.items()}
        return numbers, columns_text(numbers, "Average", "average")
    other = {m.group for marks in rows.values() for m in marks} - {*pope.GROUPS}
    by_setting = {
        setting: {
            name: yes_no(found)
            for name, marks in rows.items()
            if (found := [m for m in marks if m.group == setting])
        }
        for setting in (*pope.GROUPS, *sorted(other))
    }
    present = {setting: found for setting, found in by_setting.items() if found}
    return present, pope_text(present)


def _check_sums(marks: dict[View, list[Mark]], failures: Sequence[Failure]) -> None:
    """No question is lost: what has no mark has a failure that names it."""
    unanswered = sum(m.state == "failed" for found in marks.values() for m in found)
    assert unanswered == len(failures), (unanswered, len(failures))


def _digest(items: Sequence[Item]) -> str:
    """sha256 over all questions; images count by their names."""
    rows = [[i.id, i.image.name, i.text, i.about, i.group, i.answer, i.options] for i in items]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _keep_plan(out: Path, plan: dict[str, Any]) -> None:
    path = out / "plan.json"
    if path.exists():
        kept = json.loads(path.read_bytes())
        other = [name for name in plan if kept.get(name) != plan[name]]
        if other:
            said = "; ".join(f"{name} {kept.get(name)!r}, now {plan[name]!r}" for name in other)
            raise ValueError(
                f"{out} holds the answers of another plan ({said}); give another --out"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    _write_json(path, plan)


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode("utf-8", "backslashreplace") + b"\n")
