"""Late fusions against NumPy and SciPy written from their equations, and the losses of their classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln, log_softmax, logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from fusionkit.errors import CellError
from fusionkit_fusions.evidential import Evidential, combined, evidential_loss
from fusionkit_fusions.late import LateFusion, LogitMean, LogitWeights, MajorityVote, ProductOfExperts
from fusionkit_fusions.qmf import Qmf, ranking
from fusionkit_fusions.stacking import Stacking

DIMS = {"face": 5, "eye": 4, "mouth": 3}
C, ROWS = 4, 30


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def weighted(model: LogitWeights, logits: np.ndarray, read: list[int]) -> np.ndarray:
    assert model.scores is not None
    weights = softmax(model.scores.detach().numpy()[read])
    return np.asarray(weights @ logits[read])


def voted(model: LateFusion, logits: np.ndarray, read: list[int]) -> np.ndarray:
    votes = np.bincount(logits[read].argmax(1), minlength=C) / len(read)
    return np.log(votes + 0.1 / len(read) * softmax(logits[read], axis=1).mean(0))


def dempster(model: LateFusion, logits: np.ndarray, read: list[int]) -> np.ndarray:
    """Masses on single classes and on "any", combined pair by pair and class by class."""
    masses = None
    for evidence in softplus(logits[read]):
        strength = evidence.sum() + C
        own = [*(evidence / strength), C / strength]
        if masses is None:
            masses = own
            continue
        both = np.zeros(C + 1)
        conflict = 0.0
        for i, one in enumerate(masses):
            for j, other in enumerate(own):
                if i in (j, C) or j == C:
                    both[min(i, j) if C in (i, j) and i != j else i] += one * other
                else:
                    conflict += one * other
        masses = (both / (1 - conflict)).tolist()
    assert masses is not None
    alpha = np.array(masses[:C]) * C / masses[C] + 1
    return np.log(alpha / alpha.sum())


def averaged(model: LateFusion, logits: np.ndarray, read: list[int]) -> np.ndarray:
    return np.asarray(logits[read].mean(0))


def multiplied(model: LateFusion, logits: np.ndarray, read: list[int]) -> np.ndarray:
    return np.asarray(log_softmax(logits[read], axis=1).sum(0))


def by_energy(model: LateFusion, logits: np.ndarray, read: list[int]) -> np.ndarray:
    return np.asarray((logsumexp(logits[read], axis=1) / 10) @ logits[read])


CASES = [
    (LogitMean, averaged),
    (LogitWeights, weighted),
    (ProductOfExperts, multiplied),
    (MajorityVote, voted),
    (Qmf, by_energy),
    (Evidential, dempster),
]


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize(("kind", "expected"), CASES)
def test_logits_are_combined_by_the_rule(kind: type[LateFusion], expected: Any, hidden: int) -> None:
    torch.manual_seed(1)
    model = kind(DIMS, C, hidden=hidden).double().eval()
    rng = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
    views = {name: torch.from_numpy(rng.normal(size=(ROWS, dim))) for name, dim in DIMS.items()}
    present = {name: torch.from_numpy((rng.random(ROWS) < 0.6) & (np.arange(ROWS) > 0)) for name in DIMS}
    output = model(views, present)
    assert output.view_logits is not None
    single = np.stack([output.view_logits[name].detach().numpy() for name in DIMS], 1)
    for index, name in enumerate(DIMS):
        layers = model.classifiers[index]
        torch.testing.assert_close(output.view_logits[name], layers(views[name]))
    for row in range(ROWS):
        read = [index for index, name in enumerate(DIMS) if present[name][row]] or [0]
        found = output.logits[row].detach().numpy()
        np.testing.assert_allclose(found, expected(model, single[row], read), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [LogitMean, LogitWeights, ProductOfExperts, MajorityVote])
def test_each_classifier_learns_what_it_would_learn_alone(kind: type[LateFusion]) -> None:
    torch.manual_seed(1)
    model = kind(DIMS, C)
    x = {name: torch.randn(ROWS, dim) for name, dim in DIMS.items()}
    target = torch.arange(ROWS) % C
    model.train()
    model.loss(model(x), target).backward()
    for index, name in enumerate(DIMS):
        layer = model.classifiers[index]
        assert isinstance(layer, torch.nn.Linear)
        alone = torch.nn.Linear(DIMS[name], C)
        alone.load_state_dict(layer.state_dict())
        torch.nn.functional.cross_entropy(alone(x[name]), target).backward()
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad, alone.weight.grad)


def test_joint_learning_uses_the_loss_of_the_combined_logits() -> None:
    torch.manual_seed(1)
    model = LogitMean(DIMS, C, learn="joint")
    output = model({name: torch.randn(ROWS, dim) for name, dim in DIMS.items()})
    target = torch.arange(ROWS) % C
    assert output.logits is not None
    torch.testing.assert_close(
        model.loss(output, target), torch.nn.functional.cross_entropy(output.logits, target), rtol=0, atol=0
    )


def test_a_tie_of_votes_is_decided_by_the_mean_probability_and_never_against_a_majority() -> None:
    model = MajorityVote({"a": 3, "b": 3, "c": 3}, 3)
    logits = torch.tensor([[[9.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]], [[9.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]])
    there = torch.ones(2, 3, dtype=torch.bool)
    assert model.decide(logits, there).argmax(1).tolist() == [1, 0]


def test_the_ranking_loss_lowers_confidence_where_the_loss_is_higher() -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(7, C)), rng.integers(0, C, 7)
    losses = [logsumexp(row) - row[label] for row, label in zip(logits, target, strict=True)]
    sure = logsumexp(logits, axis=1) / 10
    terms = []
    for i in range(7):
        j = (i + 1) % 7
        sign = 1 if losses[i] < losses[j] else -1
        terms.append(max(0.0, sign * (sure[j] - sure[i]) + abs(losses[i] - losses[j])))
    found = ranking(torch.from_numpy(logits), torch.from_numpy(target))
    np.testing.assert_allclose(found.item(), np.mean(terms), rtol=1e-12)


def test_the_evidential_loss_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    alpha, target = 1 + rng.gamma(2.0, size=(6, C)), rng.integers(0, C, 6)
    expected = []
    for row, label in zip(alpha, target, strict=True):
        wrong = np.where(np.arange(C) == label, 1.0, row)
        total = wrong.sum()
        divergence = gammaln(total) - gammaln(C) - gammaln(wrong).sum()
        divergence += ((wrong - 1) * (digamma(wrong) - digamma(total))).sum()
        expected.append(digamma(row.sum()) - digamma(row[label]) + 0.3 * divergence)
    found = evidential_loss(torch.from_numpy(alpha), torch.from_numpy(target), 0.3)
    np.testing.assert_allclose(found.item(), np.mean(expected), rtol=1e-10)


def test_an_opinion_without_evidence_changes_nothing_and_agreement_adds_certainty() -> None:
    one = torch.tensor([[5.0, 1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(combined([one, torch.ones_like(one)]), one)
    assert combined([one, one]).sum() > one.sum()


def test_the_divergence_grows_with_the_steps() -> None:
    torch.manual_seed(0)
    model = Evidential({"face": 3}, C, annealing=4).train()
    output, target = model({"face": torch.randn(8, 3)}), torch.arange(8) % C
    losses = [model.loss(output, target).item() for _ in range(6)]
    steps = np.diff(losses)
    np.testing.assert_allclose(steps[:3], steps[0], rtol=1e-4)
    np.testing.assert_allclose(steps[3:], 0.0, atol=1e-6)


def stacked(seed: int = 0) -> tuple[Stacking, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 120)
    groups = np.array([f"u{number:02d}" for number in rng.integers(0, 12, 120)])
    views = {
        name: (rng.normal(size=(120, dim)) + y[:, None] * scale).astype(np.float32)
        for (name, dim), scale in zip(DIMS.items(), (0.8, 0.3, 0.0), strict=True)
    }
    model = Stacking(DIMS, 3, folds=3)
    model.fit(views, y, groups, seed=4)
    return model, views, y, groups


def test_stacking_is_scikit_learns_regressions_on_held_out_log_probabilities() -> None:
    model, views, y, groups = stacked()

    def regression() -> LogisticRegression:
        return LogisticRegression(class_weight="balanced", max_iter=1000)

    held_out, whole = [], []
    for x in views.values():
        found = np.empty((120, 3))
        for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=4).split(y, y, groups):
            assert not set(groups[train]) & set(groups[test])
            found[test] = regression().fit(x[train].astype(float), y[train]).predict_log_proba(x[test].astype(float))
        held_out.append(found)
        whole.append(regression().fit(x.astype(float), y).predict_log_proba(x.astype(float)))
    together = regression().fit(np.concatenate(held_out, 1), y)
    expected = together.predict_proba(np.concatenate(whole, 1))
    np.testing.assert_allclose(model.predict_proba(views), expected, rtol=1e-6, atol=1e-8)


def test_stacking_is_restored_from_its_arrays() -> None:
    model, views, _, _ = stacked()
    other = Stacking(DIMS, 3, folds=3)
    other.restore(model.state())
    np.testing.assert_array_equal(other.predict_proba(views), model.predict_proba(views))


def test_stacking_gives_an_unseen_class_nearly_zero_probability() -> None:
    _, views, y, groups = stacked()
    model = Stacking(DIMS, 5, folds=3)
    model.fit(views, np.where(y == 2, 4, y), groups, seed=0)
    probs = model.predict_proba(views)
    np.testing.assert_allclose(probs.sum(1), 1)
    assert probs[:, [2, 3]].max() < 1e-6
    two = Stacking(DIMS, 3, folds=3)
    two.fit(views, np.where(y == 2, 2, 0), groups, seed=0)
    expected = (y == 2).astype(int) * 2
    assert (two.predict_proba(views).argmax(1) == expected).mean() > 0.7


def test_stacking_needs_a_unit_a_fold() -> None:
    with pytest.raises(CellError, match=r"2 unit.* 5 folds"):
        Stacking({"face": 2}, 2).fit({"face": np.zeros((4, 2))}, np.array([0, 1, 0, 1]), np.array(list("aabb")), 0)
