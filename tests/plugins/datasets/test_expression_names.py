"""Spellings of expressions."""

import pytest

from fusionkit_datasets.affectnet import AffectNet
from fusionkit_datasets.ckplus import CkPlus
from fusionkit_datasets.class_map import ABAW
from fusionkit_datasets.expression_names import abaw_names, own_spelling, spelled
from fusionkit_datasets.expw import ExpW
from fusionkit_datasets.fer2013 import Fer2013
from fusionkit_datasets.ferplus import FerPlus
from fusionkit_datasets.rafdb import RafDb


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("angry", "Anger"),
        (" ANGER ", "Anger"),
        ("Happy", "Happiness"),
        ("sad", "Sadness"),
        ("bored", None),
        ("4", None),
    ],
)
def test_spellings_meet_in_one_name(word, name):
    assert spelled(word) == name


def test_a_word_is_given_as_the_data_set_spells_it():
    assert own_spelling("Anger", ("sad", "angry")) == "angry"
    assert own_spelling("contempt", ("sad", "angry")) is None
    assert own_spelling("4", ("4", "angry")) is None


def test_chosen_names_become_abaw_names_where_they_mean_one():
    assert abaw_names(("happy", "contempt", "bored")) == {"happy": "Happiness", "contempt": "Other"}


@pytest.mark.parametrize("data", [AffectNet, CkPlus, ExpW, Fer2013, FerPlus, RafDb])
def test_each_table_for_abaw_names_every_class_and_agrees_with_the_spellings(data):
    assert tuple(data.abaw) == data.own
    assert set(data.abaw.values()) <= set(ABAW)
    assert data.abaw == abaw_names(data.own)
