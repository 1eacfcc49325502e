"""Classes renamed, merged and left out by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import ConfigError
from fusionkit_datasets import affectnet, ckplus, expw, fer2013, ferplus, rafdb
from fusionkit_datasets.class_map import ABAW, ClassMap, own_spelling, spelled

OWN = ("happy", "sad", "contempt", "neutral")


def test_without_a_mapping_nothing_changes():
    same = ClassMap(OWN, None)
    assert same.classes == OWN
    assert same.apply(np.array([3, -1, 0])).tolist() == [3, -1, 0]


def test_classes_merge_and_are_left_out_and_keep_the_order_in_which_they_first_appear():
    mapped = ClassMap(OWN, {"neutral": "calm", "sad": "calm", "contempt": None})
    assert mapped.classes == ("happy", "calm")
    assert mapped.apply(np.array([0, 1, 2, 3, -1])).tolist() == [0, 1, -1, 1, -1]


def test_a_star_stands_for_every_class_that_is_not_named():
    mapped = ClassMap(OWN, {"happy": "happy", "*": "rest"})
    assert mapped.classes == ("happy", "rest")
    assert mapped.apply(np.arange(4)).tolist() == [0, 1, 1, 1]


def test_a_class_may_be_merged_into_one_that_keeps_its_name():
    mapped = ClassMap(OWN, {"happy": "neutral"})
    assert mapped.classes == ("neutral", "sad", "contempt")
    assert mapped.apply(np.arange(4)).tolist() == [0, 1, 2, 0]


@given(st.dictionaries(st.sampled_from([*OWN, "*"]), st.sampled_from(["x", "y", "sad", None])))
def test_what_a_label_becomes_is_what_its_name_becomes(mapping):
    def becomes(name):
        return mapping[name] if name in mapping else mapping.get("*", name)

    left = {becomes(name) for name in OWN} - {None}
    if mapping and len(left) < 2:
        with pytest.raises(ConfigError, match="at least two"):
            ClassMap(OWN, mapping)
        return
    mapped = ClassMap(OWN, mapping)
    new = mapped.apply(np.arange(4)).tolist()
    assert [None if code < 0 else mapped.classes[code] for code in new] == [becomes(name) for name in OWN]
    assert set(mapped.classes) == left


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"contmpt": "x"}, r"unknown class 'contmpt' \(did you mean 'contempt'\?\)"),
        ({"happy": "  "}, "'happy' must be text, not '  '"),
        ({"happy": 3}, "'happy' must be text, not 3"),
        ({"*": "all"}, "leaves only 'all'"),
        ({"*": None}, "leaves no class"),
        ({"happy": "sad", "contempt": "sad", "neutral": None}, "leaves only 'sad'"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(mapping, message):
    with pytest.raises(ConfigError, match=message):
        ClassMap(OWN, mapping)


def test_every_unknown_name_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        ClassMap(OWN, {"a": "x", "b": "y"})
    assert len(caught.value.problems) == 2


def test_the_option_may_be_a_dict_or_its_text():
    as_dict = ClassMap.of(OWN, {"contempt": "Other", "sad": None})
    as_text = ClassMap.of(OWN, ' { contempt:Other , "sad": null } ')
    assert as_dict.classes == as_text.classes == ("happy", "Other", "neutral")
    assert as_dict.apply(np.arange(4)).tolist() == as_text.apply(np.arange(4)).tolist() == [0, -1, 1, 2]


@pytest.mark.parametrize("text", ["", "happy:sad", "{happy}", "{:x}", "{happy:sad,}", "{happy:a,happy:b}", "abwa"])
def test_text_that_is_no_mapping_is_refused(text):
    with pytest.raises(ConfigError, match="class_map"):
        ClassMap.of(OWN, text)


def test_abaw_maps_spellings_to_the_eight_names():
    assert ClassMap.of(OWN, "abaw").classes == ("Happiness", "Sadness", "Other", "Neutral")
    assert ClassMap.of(ABAW, "ABAW").classes == ABAW


def test_abaw_is_refused_for_a_class_of_another_meaning():
    with pytest.raises(ConfigError, match=r"Neutral, Anger.*'bored'"):
        ClassMap.of(("happy", "bored"), "abaw")


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


@pytest.mark.parametrize("data", [affectnet, ckplus, expw, fer2013, ferplus, rafdb])
def test_abaw_knows_every_class_of_each_data_set(data):
    mapped = ClassMap.of(data.CLASSES, "abaw")
    assert set(mapped.classes) <= set(ABAW)
    names = [mapped.classes[code] for code in mapped.apply(np.arange(len(data.CLASSES))).tolist()]
    assert names == ["Other" if spelled(name) == "Contempt" else spelled(name) for name in data.CLASSES]
