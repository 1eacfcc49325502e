"""Classes renamed, merged and left out by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import ConfigError
from fusionkit_datasets.class_map import ABAW, ClassMap

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
    ("mapping", "said"),
    [
        ({"contmpt": "x"}, r"'contmpt', which is no class here \(did you mean 'contempt'\?\)"),
        ({"happy": "  "}, "'happy' becomes '  ', which is no name"),
        ({"happy": 3}, "'happy' becomes 3, which is no name"),
        ({"*": "all"}, "leaves only 'all'"),
        ({"*": None}, "leaves no class"),
        ({"happy": "sad", "contempt": "sad", "neutral": None}, "leaves only 'sad'"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(mapping, said):
    with pytest.raises(ConfigError, match=said):
        ClassMap(OWN, mapping)


def test_every_unknown_name_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        ClassMap(OWN, {"a": "x", "b": "y"})
    assert len(caught.value.problems) == 2


def test_the_option_may_be_a_dict_or_its_text():
    as_dict = ClassMap.of(OWN, {"contempt": "Other", "sad": None}, {})
    as_text = ClassMap.of(OWN, ' { contempt:Other , "sad": null } ', {})
    assert as_dict.classes == as_text.classes == ("happy", "Other", "neutral")
    assert as_dict.apply(np.arange(4)).tolist() == as_text.apply(np.arange(4)).tolist() == [0, -1, 1, 2]


@pytest.mark.parametrize("text", ["", "happy:sad", "{happy}", "{:x}", "{happy:sad,}", "{happy:a,happy:b}", "abwa"])
def test_text_that_is_no_mapping_is_refused(text):
    with pytest.raises(ConfigError, match="class_map"):
        ClassMap.of(OWN, text, {})


def test_abaw_is_the_data_sets_own_table():
    table = {"happy": "Happiness", "sad": "Sadness", "contempt": "Other", "neutral": "Neutral"}
    assert ClassMap.of(OWN, "abaw", table).classes == ("Happiness", "Sadness", "Other", "Neutral")
    assert ClassMap.of(ABAW, "ABAW", {}).classes == ABAW


def test_abaw_is_refused_where_a_class_means_none_of_the_eight():
    with pytest.raises(ConfigError, match="'bored' means none of Neutral, Anger"):
        ClassMap.of(("happy", "bored"), "abaw", {"happy": "Happiness"})
