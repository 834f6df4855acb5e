"""The photographs inside installed packages."""

import pytest

from pipeline.records import Sample
from pipeline.sources import photos
from tests.pipeline.sources.files_for_tests import load_all, reasons


@pytest.mark.slow
def test_every_photograph_loads_without_a_network_and_has_a_licence_line():
    samples = load_all(photos.make(photos.Config()))
    for sample in samples:
        assert isinstance(sample, Sample), sample
        assert 2 <= len(sample.instructions) <= 3
        assert sample.source.licence
        assert sample.gold is None
        assert sample.style in {"phrase", "command", "question", "all"}
    assert len({sample.source.key for sample in samples if isinstance(sample, Sample)}) >= 12


def test_a_photograph_that_a_package_does_not_ship_is_a_reject(monkeypatch: pytest.MonkeyPatch):
    gone = photos.Photo("skimage", "data/gone.png", "CC0-1.0", "", photos.PHOTOS[0].targets[:1])
    nowhere = photos.Photo("no_such_package", "a.png", "", "", photos.PHOTOS[0].targets[:1])
    monkeypatch.setattr(photos, "PHOTOS", (gone, nowhere))
    assert reasons(photos.make(photos.Config())) == ["image-missing", "image-missing"]
