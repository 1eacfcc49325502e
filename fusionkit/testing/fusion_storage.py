"""Checks of fusions: a head that was stored, sent to a process or written as a SPEC is the same head."""

from __future__ import annotations

import pickle

import torch

from fusionkit.spec import Spec
from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.comparison import require_same
from fusionkit.testing.fusion_inputs import CLASSES, STANDARD, batch, build, heads, logits_of, presence, seeded
from fusionkit.testing.subject import Subject

CHECKS = Suite()


@CHECKS.check
def state_dict_round_trip(subject: Subject) -> None:
    """A head with other weights that takes the stored ones gives the same bits: all that it learned is in its state."""
    for where, model in heads(subject):
        views, present = batch(model), presence(model.in_dims)
        other = build(subject, model.in_dims, seed=99)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        other.load_state_dict(state)
        require_same(
            logits_of(other, views, present),
            logits_of(model, views, present),
            f"{where}: a head that was restored from its state gives other logits",
        )


@CHECKS.check
def pickle_round_trip(subject: Subject) -> None:
    """A head can be pickled, and gives the same bits afterwards."""
    model = build(subject)
    views, present = batch(model), presence(model.in_dims)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301  (its own bytes)
    require_same(logits_of(again, views, present), logits_of(model, views, present), "after pickling other logits come")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same head: that is how workers get it."""
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    model, other = build(subject), build(subject)
    if any(not torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items()):
        raise Skipped("same_seed_same_weights fails")
    with seeded(0):
        again = subject.cls(in_dims=dict(STANDARD), num_classes=CLASSES, **spec.options)
        again.attach_head()
    views, present = batch(model), presence(model.in_dims)
    require_same(
        logits_of(again.eval(), views, present),
        logits_of(model, views, present),
        f"built from the SPEC {subject.text} it gives other logits",
    )


@CHECKS.check
def recipe_can_be_used(subject: Subject) -> None:
    """What the fusion changes in the recipe of training is in the recipe's words."""
    from fusionkit.recipe import Recipe

    problems = Recipe.problems(subject.cls.recipe)
    require(not problems, "; ".join(problems))
