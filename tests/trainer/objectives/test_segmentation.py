"""The weighted mask loss, over one model and over peers."""

import torch

from tests.trainer.objectives.little_batch import little_batch, segmenter
from trainer.models.peers import Peers
from trainer.objectives.config import LossConfig
from trainer.objectives.segmentation import Segmentation, differ
from trainer.weighting.co_teaching import CoTeaching
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.gold_only import GoldOnly
from trainer.weighting.uniform import Uniform


def test_each_peer_gets_the_gradient_that_it_would_get_alone():
    batch = little_batch()
    alone = [segmenter(0), segmenter(1)]
    for model in alone:
        step = Segmentation(loss=LossConfig(), weigher=Uniform())(model, batch, 0.0)
        (step.total / step.count).backward()
    peers = Peers([segmenter(0), segmenter(1)])
    weigher = CoTeaching(noise_rate=0.0, warmup=0.0)
    step = Segmentation(loss=LossConfig(), weigher=weigher)(peers, batch, 0.0)
    (step.total / step.count).backward()
    assert float(step.count) == 6.0
    for model, peer in zip(alone, peers.models, strict=True):
        for p, q in zip(model.parameters(), peer.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None and q.grad is not None:
                torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-5)


def test_the_first_peer_is_the_one_that_is_kept():
    first, second = segmenter(0), segmenter(1)
    peers = Peers([first, second])
    batch = little_batch(b=2, gold=1)
    logits = peers(batch.image, batch.tokens)
    assert logits.shape == (2, 2, 1, 32, 32)
    assert peers.first is first
    assert torch.equal(logits[0], first(batch.image, batch.tokens))
    assert not torch.equal(logits[0], logits[1])


def test_peers_differ_where_their_masks_overlap_too_little():
    a = torch.full((4, 1, 4, 4), -1.0)
    b = a.clone()
    a[0, :, :2], b[0, :, :2] = 1, 1  # the same
    a[1, :, :2], b[1, :, 1:3] = 1, 1  # a third
    a[2, :, :2] = 1  # one says nothing
    both = torch.stack([a, b])  # the last: neither says anything
    assert differ(both, below=0.8).tolist() == [False, True, True, False]
    assert differ(both, below=0.3).tolist() == [False, False, True, False]
    assert differ(a[None], below=0.8).tolist() == [True] * 4


def test_a_batch_of_no_weight_changes_nothing_and_divides_by_nothing():
    batch, model = little_batch(gold=0), segmenter()
    step = Segmentation(loss=LossConfig(), weigher=GoldOnly())(model, batch, 0.0)
    assert (step.total.item(), step.count.item()) == (0.0, 0.0)
    step.total.backward()
    assert all(p.grad is None or not bool(p.grad.any()) for p in model.parameters())


def test_a_constant_weight_drops_out_where_the_official_mean_would_scale_the_step():
    """mean(c L) is c mean(L); sum(c L) / sum(c) is mean(L), whatever c."""
    batch, model = little_batch(gold=0), segmenter()
    plain = Segmentation(loss=LossConfig(), weigher=Uniform())(model, batch, 0.0)
    batch.p_clean.fill_(0.3)
    told = Segmentation(loss=LossConfig(), weigher=Dwsl(f="identity"))(model, batch, 0.0)
    torch.testing.assert_close(told.total, 0.3 * plain.total)
    torch.testing.assert_close(told.total / told.count, plain.total / plain.count)
