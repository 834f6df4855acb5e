"""The table source and a hub on this machine: a dataset by its id and commit, and everything that is not there.

huggingface_hub reads its environment when it is imported, so every client here is a process of its own.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.hub_server import TOKEN, serve
from tests.pipeline.sources.files_for_tests import save_image
from tests.pipeline.test_hub import environment

pytestmark = pytest.mark.slow

PUSH = """
import sys, json
from huggingface_hub import HfApi
HfApi().create_repo("org/mugs", repo_type="dataset")
done = HfApi().upload_folder(repo_id="org/mugs", repo_type="dataset", folder_path=sys.argv[1])
print(json.dumps({"commit": done.oid}))
"""
READ = """
import sys, json, hashlib
from pipeline.sources import table
try:
    got = table.make(table.Config.model_validate(json.loads(sys.argv[1])))
    rows = [got.load(n) for n in range(len(got))]
    print(json.dumps({"rows": [
        getattr(row, "reason", "") or [row.id, *row.instructions, hashlib.sha256(row.image).hexdigest()] for row in rows
    ]}))
except ValueError as error:
    print(json.dumps({"said": str(error)}))
"""


def test_a_dataset_of_the_hub_is_read_at_its_commit_and_cannot_name_files_of_ours(tmp_path: Path):
    secret = save_image(tmp_path / "secret.jpg", seed=9)
    data = save_image(tmp_path / "0.jpg").read_bytes()
    rows = [
        {"image": {"bytes": data, "path": "0.jpg"}, "instruction": "the mug"},
        {"image": {"bytes": None, "path": str(secret)}, "instruction": "the mug"},
        {"image": {"bytes": None, "path": "../../secret.jpg"}, "instruction": "the mug"},
    ]
    home = tmp_path / "mugs" / "data"
    home.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), home / "train-00000-of-00001.parquet")
    with serve() as hub:

        def client(code: str, *words: str) -> dict[str, Any]:
            done = subprocess.run(
                [sys.executable, "-c", code, *words],
                env=environment(hub.endpoint, tmp_path, TOKEN),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        commit = client(PUSH, str(tmp_path / "mugs"))["commit"]
        asked = {"hub": "org/mugs", "revision": commit}
        got = client(READ, json.dumps(asked))["rows"]
        assert got[0][1:] == ["the mug", hashlib.sha256(data).hexdigest()]
        assert got[1:] == ["image-outside", "image-outside"]
        for wrong in (
            {"hub": "org/none"},
            {"revision": "0" * 40},
            {"split": "test"},
            {"subset": "x"},
        ):
            said = client(READ, json.dumps(asked | wrong))["said"]
            assert "cannot be loaded" in said, said
