"""The learned temporal head: its inputs, its training, and that training has no side effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from toy_clips import sticky_clips

from fusionkit_smoothers.tcn import _PIECE, Clip, Tcn, TemporalNet, _batches, _class_weights, _loss


@pytest.fixture(scope="module")
def trained() -> Tcn:
    smoother = Tcn(channels=8, layers=4, epochs=12)
    smoother.fit(*sticky_clips(12, 200, 4, seed=0), seed=0)
    return smoother


def random_net(layers: int = 3) -> TemporalNet:
    """A net with corrections other than zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = TemporalNet(6, 4, 8, layers)
        torch.nn.init.normal_(net.leave.weight)
    return net.eval()


@pytest.mark.slow
def test_it_is_more_accurate_on_new_clips_than_the_frames_alone(trained: Tcn) -> None:
    clips, labels = sticky_clips(8, 200, 4, seed=1)
    right = [np.mean(trained(*clip).argmax(1) == known) for clip, known in zip(clips, labels, strict=True)]
    alone = [np.mean(clip[0].argmax(1) == known) for clip, known in zip(clips, labels, strict=True)]
    assert np.mean(right) > np.mean(alone) + 0.15


def test_its_receptive_field_is_two_to_the_layers(trained: Tcn) -> None:
    x = np.random.default_rng(0).normal(size=(81, 4))
    other = x.copy()
    other[40] += 1
    changed = np.flatnonzero((trained(x, np.arange(81)) != trained(other, np.arange(81))).any(1))
    assert (changed.min(), changed.max()) == (40 - 15, 40 + 15)


def test_a_gap_changes_the_frames_beside_it(trained: Tcn) -> None:
    x = np.random.default_rng(0).normal(size=(80, 4))
    gap = np.arange(80) + 50 * (np.arange(80) >= 40)
    changed = np.flatnonzero((trained(x, np.arange(80)) != trained(x, gap)).any(1))
    assert {39, 40} <= set(changed.tolist())


def test_its_inputs_are_standardised_logits_and_log_steps() -> None:
    smoother = Tcn()
    smoother._mean, smoother._scale = np.array([1.0, 2.0]), np.array([2.0, 4.0])
    found = smoother._features(np.array([[3.0, 2.0], [1.0, 6.0], [1.0, 2.0]]), np.array([5, 6, 13]))
    expected = [[1, 0, 0, 0], [0, 1, 0, np.log(7)], [0, 0, np.log(7), 0]]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_padding_does_not_change_the_correction_of_a_frame() -> None:
    net = random_net()
    parts = [torch.randn(6, length, generator=torch.Generator().manual_seed(length)) for length in (30, 7, 1)]
    padded, mask = torch.full((3, 6, 30), 5.0), torch.zeros(3, 1, 30)
    for row, part in enumerate(parts):
        padded[row, :, : part.shape[1]], mask[row, :, : part.shape[1]] = part, 1
    together = net(padded, mask)
    for row, part in enumerate(parts):
        alone = net(part[None], torch.ones(1, 1, part.shape[1]))[0]
        torch.testing.assert_close(together[row, :, : part.shape[1]], alone, rtol=0, atol=1e-6)


def test_before_training_nothing_is_corrected() -> None:
    net = TemporalNet(6, 4, 8, 3)
    assert net(torch.randn(2, 6, 10), torch.ones(2, 1, 10)).abs().max() == 0


@pytest.mark.parametrize("labelled", [0, 1])
def test_where_no_clip_can_be_held_out_nothing_changes(labelled: int) -> None:
    clips, labels = sticky_clips(3, 50, 4, seed=0)
    labels = [known if index < labelled else np.full(50, -1) for index, known in enumerate(labels)]
    smoother = Tcn(channels=4, layers=2)
    smoother.fit(clips, labels, seed=0)
    np.testing.assert_array_equal(smoother.smooth(*clips[0]), softmax(clips[0][0], axis=1))


def test_labels_without_a_pattern_are_not_overfitted() -> None:
    rng = np.random.default_rng(0)
    clips = [(rng.normal(size=(60, 3)), np.arange(60)) for _ in range(8)]
    labels = [rng.integers(0, 3, size=60) for _ in clips]
    smoother = Tcn(channels=16, layers=3)
    smoother.fit(clips, labels, seed=0)
    new, truth = rng.normal(size=(3000, 3)), rng.integers(0, 3, size=3000)
    before, after = (
        -np.log(probs[np.arange(3000), truth]).mean()
        for probs in (softmax(new, axis=1), smoother(new, np.arange(3000)))
    )
    assert after < before + 0.05


def test_training_neither_uses_nor_changes_the_global_state_of_torch() -> None:
    states = []
    threads = torch.get_num_threads()
    for seed, using in ((1, 1), (2, 2)):
        torch.manual_seed(seed)
        torch.set_num_threads(using)
        before = torch.random.get_rng_state()
        smoother = Tcn(channels=4, layers=2, epochs=2)
        smoother.fit(*sticky_clips(4, 80, 3, seed=0), seed=5)
        smoother(*sticky_clips(1, 80, 3, seed=1)[0][0])
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.get_num_threads() == using
        states.append(smoother.state())
    torch.set_num_threads(threads)
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])


def test_another_seed_trains_another_net() -> None:
    states = []
    for seed in (0, 1):
        smoother = Tcn(channels=4, layers=2, epochs=2)
        smoother.fit(*sticky_clips(4, 80, 3, seed=0), seed=seed)
        states.append(smoother.state()["net.enter.weight"])
    assert (states[0] != states[1]).any()


# -- batches and loss --------------------------------------------------------------------------------------------------


def clip_of(length: int, labelled: slice = slice(None)) -> Clip:
    rng = np.random.default_rng(length)
    labels = np.full(length, -1)
    labels[labelled] = rng.integers(0, 3, size=length)[labelled]
    features, logits = (torch.tensor(rng.normal(size=(length, width)), dtype=torch.float32) for width in (6, 4))
    return Clip(features, logits, torch.tensor(labels))


def test_batches_hold_every_labelled_piece_once() -> None:
    clips = [clip_of(1300), clip_of(3), clip_of(700, slice(600, 700)), *[clip_of(1)] * 40]
    batches = _batches(clips)
    lengths = sorted(int(row.sum()) for batch in batches for row in batch.mask)
    # The first piece of the third clip has no label.
    assert lengths == sorted([_PIECE, _PIECE, 1300 - 2 * _PIECE, 3, 700 - _PIECE, *[1] * 40])
    assert sum(int((batch.labels >= 0).sum()) for batch in batches) == 1300 + 3 + 100 + 40
    for batch in batches:
        assert (batch.labels[batch.mask == 0] == -1).all()
        assert batch.features.shape == (len(batch.mask), 6, batch.mask.shape[1])


def test_present_classes_have_equal_weight_and_absent_ones_none() -> None:
    labels = torch.tensor([0] * 6 + [2] * 2 + [-1] * 5)
    weights = _class_weights(labels, 4)
    np.testing.assert_allclose(weights, [8 / (2 * 6), 0, 8 / (2 * 2), 0], rtol=1e-6)


def test_the_loss_is_the_weighted_cross_entropy_of_labelled_frames() -> None:
    clips, net, weights = [clip_of(9, slice(2, 6)), clip_of(4)], random_net(), torch.tensor([0.5, 2.0, 1.0, 0.0])
    (batch,) = _batches(clips)
    loss, total = _loss(net, batch, weights)
    expected = weighed = 0.0
    for clip in clips:
        corrections = net(clip.features.T[None], torch.ones(1, 1, len(clip.labels)))[0].T
        logs = log_softmax((clip.logits + corrections).detach().numpy(), axis=1)
        for row, label in enumerate(clip.labels.tolist()):
            if label >= 0:
                expected -= float(weights[label]) * logs[row, label]
                weighed += float(weights[label])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert total.item() == pytest.approx(weighed)
