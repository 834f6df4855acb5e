"""The demo at a tenth of its size: every verb of the line, one after another, on real output of the one before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskmix import app
from pipeline.manifest import read_manifest


@pytest.mark.slow
@pytest.mark.ray
def test_the_demo_runs_and_leaves_what_it_promises(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "maskmix", "demo", "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Done in" in done.stdout
    totals = read_manifest(out / "train").totals
    assert totals.inputs == 88
    assert totals.inputs == totals.committed + sum(totals.rejected.values()) + totals.quarantined
    rows = json.loads((out / "compare" / "compare.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"gold-only", "uniform", "dwsl"}
    page = (out / "report.html").read_text()
    for word in ("Funnel", "Gallery", "Discriminator", "Comparison", "nothing lost"):
        assert word in page

    run = next(p for p in (out / "compare").iterdir() if (p / "model.json").exists())
    photo = tmp_path / "photo.png"
    from skimage.data import coffee
    from skimage.io import imsave

    imsave(photo, coffee())
    words = ["predict", str(run), str(photo), "the cup", "--out", str(tmp_path / "seen.png")]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (tmp_path / "seen.png").stat().st_size > 1000
