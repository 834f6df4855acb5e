"""The laws of ARCHITECTURE.md, enforced on the source text: who may import whom, and what a file may be.

Every rule is a function from a set of files to complaints, so that the same rule is run over the project, where it must
find nothing, and over a little wrong project, where it must find what was put there.
"""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RANK = {"annotators": 0, "pipeline": 1, "trainer": 2, "maskmix": 3, "benchmarks": 4, "tests": 5}
PACKAGES = ("annotators", "pipeline", "trainer")
TRAINER_SEES = {
    "pipeline.records", "pipeline.shards", "pipeline.codec", "pipeline.reader", "pipeline.manifest",
    "pipeline.intake.images", "pipeline.intake.image_files", "pipeline.intake.instructions", "pipeline.intake.refusal",
    "pipeline.sidecar", "pipeline.config", "pipeline.hub", "pipeline.card", "pipeline.crew", "pipeline.options",
    "pipeline.lock",
}  # fmt: skip
INDEPENDENT = (
    "pipeline.stages", "pipeline.sources", "pipeline.executors", "trainer.weighting", "trainer.objectives",
    "trainer.masking",
)  # fmt: skip
SHARED = {"protocol", "config", "attention"}
"""What the members of an independent folder may import from it; its `registry` may import all of them."""
HOMES = {
    "ray": ("pipeline.crew", "pipeline.executors.ray", "trainer.engine.launch", "trainer.use.many"),
    "huggingface_hub": (
        "pipeline.hub",
        "pipeline.card",
        "annotators.models.weights",
        "trainer.use.publish",
    ),
    "openai": ("annotators.",),
    "peft": ("trainer.models.",),
    "transformers": ("annotators.", "trainer.models."),
}
"""A library that only these modules may import; a name with a final dot stands for all below it."""
FORBIDDEN_WORDS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
LONGEST = 400
Files = dict[str, str]


def project(*folders: str) -> Files:
    """Path -> text of every Python file under the folders, and the front door."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    if (ROOT / "maskmix.py").exists():
        paths.append(ROOT / "maskmix.py")
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def import_nodes(text: str) -> list[ast.Import | ast.ImportFrom]:
    return [n for n in ast.walk(parsed(text)) if isinstance(n, ast.Import | ast.ImportFrom)]


def module_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imports(text: str, known: set[str]) -> Iterator[str]:
    """Full names of all modules that a file imports, anywhere in it; `.` for a relative import."""
    for node in import_nodes(text):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            if node.level:
                yield "."
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else str(node.module)


def one_way(files: Files) -> Iterator[str]:
    known = {module_of(path) for path in files}
    for path, text in files.items():
        name = module_of(path)
        top = name.partition(".")[0]
        for target in imports(text, known):
            there = target.partition(".")[0]
            if target == ".":
                yield f"{name} imports relatively; write the whole name"
            if RANK.get(there, -1) > RANK[top]:
                yield f"{name} imports {target}: {top} may not look up to {there}"
            if top == "trainer" and there == "pipeline" and target not in TRAINER_SEES:
                yield f"{name} imports {target}: the trainer sees only {sorted(TRAINER_SEES)}"


def no_siblings(files: Files) -> Iterator[str]:
    known = {module_of(path) for path in files}
    for path, text in files.items():
        folder, _, own = module_of(path).rpartition(".")
        for target in imports(text, known) if own != "registry" else ():
            inside = folder in INDEPENDENT and target.startswith(folder + ".")
            if inside and target.removeprefix(folder + ".") not in SHARED:
                yield f"{module_of(path)} imports its sibling {target}"


def no_expert_knows_another(files: Files) -> Iterator[str]:
    from annotators.registry import EXPERTS

    experts = {where.partition(":")[0] for where in EXPERTS.values()}
    known = {module_of(path) for path in files}
    for path, text in files.items():
        name = module_of(path)
        for target in imports(text, known) if name in experts else ():
            if target in experts - {name}:
                yield f"{name} imports another expert, {target}"


def libraries_at_home(files: Files) -> Iterator[str]:
    for path, text in files.items():
        name = module_of(path)
        for target in imports(text, set()) if name.partition(".")[0] in PACKAGES else ():
            homes = HOMES.get(target.partition(".")[0], (name,))
            if not any(name.startswith(h) if h.endswith(".") else name == h for h in homes):
                yield f"{name} imports {target}, whose home is {', '.join(homes)}"


def no_pickle(files: Files) -> Iterator[str]:
    for path, text in files.items():
        for target in imports(text, set()) if path.partition("/")[0] in PACKAGES else ():
            if target.partition(".")[0] in {"pickle", "cloudpickle", "dill", "marshal", "shelve"}:
                yield f"{module_of(path)} imports {target}: no pickle on the data path"


def no_mocks(files: Files) -> Iterator[str]:
    for path, text in files.items():
        if any(target.startswith("unittest") for target in imports(text, set())):
            yield f"{module_of(path)} imports unittest: tests use pytest and tiny real objects"


def one_idea(files: Files) -> Iterator[str]:
    for path, text in files.items():
        tree = parsed(text)
        if not ast.get_docstring(tree):
            yield f"{path} has no docstring that says what it is"
        if (lines := len(text.splitlines())) > LONGEST:
            yield f"{path} has {lines} lines; one idea per file, at most {LONGEST}"
        if path.endswith("__init__.py") and len(tree.body) > 1:
            yield f"{path} holds code; an __init__ holds its docstring"
        if FORBIDDEN_WORDS & set(module_of(path).replace("_", ".").split(".")):
            yield f"{path} is named after nothing; name what is in it"


def quiet(files: Files) -> Iterator[str]:
    for path, text in files.items():
        for node in ast.walk(parsed(text)) if path.partition("/")[0] in PACKAGES else ():
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                yield f"{path}:{node.lineno} prints; libraries return or log"
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield f"{path}:{node.lineno} catches everything, interrupts included; name what it expects"


RULES: dict[Callable[[Files], Iterator[str]], Files] = {
    one_way: {
        "annotators/a.py": "import pipeline.records",
        "annotators/b.py": "def f():\n    from trainer.engine import loop",
        "pipeline/a.py": "from trainer.engine.loop import fit",
        "pipeline/b.py": "from . import records",
        "pipeline/work.py": "import maskmix",
        "trainer/a.py": "from pipeline import work",
        "trainer/b.py": "from tests import conftest",
    },
    no_siblings: {
        "pipeline/stages/fuse.py": "from pipeline.stages.ground import Ground",
        "pipeline/stages/ground.py": "'''Fine.'''",
        "pipeline/sources/coco.py": "from pipeline.sources import folder",
        "pipeline/sources/folder.py": "",
        "trainer/weighting/dwsl.py": "import trainer.weighting.uniform",
    },
    no_expert_knows_another: {
        "annotators/language/rewriter_rules.py": "from annotators.fakes.plain import FakeRewriter",
        "annotators/fakes/plain.py": "",
    },
    libraries_at_home: {
        "pipeline/build.py": "def f():\n    import ray",
        "pipeline/card2.py": "from huggingface_hub import HfApi",
        "trainer/a.py": "import ray.data",
        "trainer/fit.py": "import transformers",
        "pipeline/b.py": "from openai import OpenAI",
    },
    no_pickle: {"pipeline/a.py": "import pickle", "trainer/a.py": "from cloudpickle import dumps"},
    no_mocks: {"tests/test_a.py": "from unittest.mock import Mock"},
    one_idea: {
        "pipeline/a.py": "x = 1",
        "pipeline/b.py": "'''Long.'''\n" + "x = 1\n" * LONGEST,
        "pipeline/__init__.py": "'''Code.'''\nimport os",
        "pipeline/shard_utils.py": "'''Things.'''",
    },
    quiet: {
        "pipeline/a.py": "print('hello')",
        "trainer/a.py": "try:\n    pass\nexcept:\n    pass",
    },
}
"""Each rule with a little project in which every file but the fine ones breaks it."""

FINE = {"pipeline/stages/ground.py", "pipeline/sources/folder.py", "annotators/fakes/plain.py"}


@pytest.fixture(scope="module")
def files() -> Files:
    """The whole project, parsed once for all rules."""
    found = project(*PACKAGES, "benchmarks", "tests")
    for text in found.values():
        import_nodes(text)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_law(rule, files):
    found = list(rule(files))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_law_is_seen_broken_where_it_is(rule):
    wrong = RULES[rule]
    for path in wrong.keys() - FINE:
        found = list(rule(wrong))
        assert any(path in said or module_of(path) in said for said in found), (path, found)


def test_the_law_looks_at_the_whole_project():
    seen = project(*PACKAGES, "tests")
    assert {"annotators/masks.py", "pipeline/executors/local.py", "trainer/__init__.py"} <= set(
        seen
    )
    assert "tests/test_architecture.py" in seen


HEAVY = (
    "torch",
    "ray",
    "transformers",
    "datasets",
    "skimage",
    "sklearn",
    "scipy",
    "pandas",
    "trimesh",
    "openai",
)


def loaded_by(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter holds after running `code`."""
    tell = f"{code}\nimport sys\nprint(*(set({HEAVY}) & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", tell], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["pipeline.records", "annotators.registry", "pipeline.shards", "pipeline.codec", "pipeline.config",
     "pipeline.reader", "pipeline.registry"],
)  # fmt: skip
def test_light_modules_load_no_heavy_library(module):
    assert loaded_by(f"import {module}") == set()


def test_a_heavy_library_would_be_seen():
    assert "scipy" in loaded_by("import pipeline.records, scipy")
