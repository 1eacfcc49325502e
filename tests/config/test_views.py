"""The view language: what is written reads back, what is malformed is refused, and views are laid out in order."""

import contextlib
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fusionkit.config.views import FACE, View, arrange, parse_region_set, regions_of, subsets
from fusionkit.errors import ConfigError

REGIONS = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True).filter(lambda name: name != "face")
PARTS = st.lists(REGIONS, min_size=1, max_size=4, unique=True)
TEXTS = st.just("face") | st.builds(
    lambda form, parts: form + "+".join(parts), st.sampled_from(["", "keep:", "drop:"]), PARTS
)
VIEWS = TEXTS.map(View.parse)
SETS = st.lists(VIEWS, min_size=1, max_size=4, unique=True).map(tuple)


@given(VIEWS)
def test_a_written_view_reads_back_the_same(view: View) -> None:
    assert View.parse(str(view)) == view
    assert View.parse(f"  {view} ") == view


@given(SETS)
def test_a_region_set_reads_back_from_text_and_from_a_list(views: tuple[View, ...]) -> None:
    assert parse_region_set(",".join(map(str, views))) == views
    assert parse_region_set([str(view) for view in views]) == views


@given(PARTS, st.randoms())
def test_the_order_of_regions_matters_where_they_are_stacked_and_nowhere_else(parts: list[str], random) -> None:
    mixed = random.sample(parts, len(parts))
    assert View.parse("keep:" + "+".join(mixed)) == View.parse("keep:" + "+".join(parts))
    assert View.parse("drop:" + "+".join(mixed)) == View.parse("drop:" + "+".join(parts))
    assert View.parse("+".join(mixed)).regions == tuple(mixed)


@given(st.text())
def test_any_text_is_a_view_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        view = View.parse(text)
        assert View.parse(str(view)) == view
        assert (view == FACE) == (not view.regions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a view"),
        ("eye+", "is not a view"),
        ("+eye", "is not a view"),
        ("eye++mouth", "is not a view"),
        ("eye +mouth", "is not a view"),
        ("keep:", "is not a view"),
        ("keep", None),
        ("keep:eye+", "is not a view"),
        ("keep:drop:eye", "is not a view"),
        ("crop:eye", "is not a view"),
        ("face:eye", "is not a view"),
        ("hold:eye", "is not a view"),
        ("Eye", "in lower case"),
        ("1eye", "is not a view"),
        ("os.system", "is not a view"),
        ("eye,mouth", "is not a view"),
        ("eye+eye", "contains a region twice"),
        ("drop:eye+mouth+eye", "contains a region twice"),
        ("face+eye", "'face' is a view, not"),
        ("keep:face", "'face' is a view, not"),
        (3, "3 is not a view"),
        (None, "None is not a view"),
    ],
)
def test_a_malformed_view_is_refused_with_the_reason(text: object, message: str | None) -> None:
    if message is None:
        assert View.parse(text) == View("crop", ("keep",))  # a region may be called so
        return
    with pytest.raises(ConfigError) as refused:
        View.parse(text)
    assert message in str(refused.value)


@pytest.mark.parametrize("value", ["", ",", "eye,", "eye,eye", ["eye", "eye"], "keep:a+b,keep:b+a", [], 5, None, {}])
def test_a_malformed_region_set_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        parse_region_set(value)


@given(VIEWS, SETS)
def test_the_main_view_comes_first_and_the_others_sorted(main: View, views: tuple[View, ...]) -> None:
    arranged = arrange(main, views)
    names = list(arranged)
    assert names[0] == str(main)
    assert arranged[names[0]] == main
    assert len(arranged) == 1 + len(views)
    assert sorted(arranged.values()) == sorted([main, *views])
    assert all(a.removesuffix("#2") < b.removesuffix("#2") for a, b in pairwise(names[1:]))


@given(SETS)
def test_without_a_main_view_the_first_of_the_set_is_main(views: tuple[View, ...]) -> None:
    arranged = arrange(None, views)
    assert next(iter(arranged.values())) == views[0]
    assert arranged == {str(view): view for view in views}
    assert list(arranged)[1:] == sorted(map(str, views[1:]))


@given(VIEWS, SETS, st.randoms())
def test_a_set_in_another_order_is_the_same_cell(main: View, views: tuple[View, ...], random) -> None:
    mixed = tuple(random.sample(views, len(views)))
    assert list(arrange(main, mixed).items()) == list(arrange(main, views).items())


def test_a_view_that_is_given_twice_is_numbered() -> None:
    assert list(arrange(FACE, parse_region_set("mouth,face"))) == ["face", "face#2", "mouth"]


@given(SETS)
def test_subsets_are_all_non_empty_ones_once(views: tuple[View, ...]) -> None:
    assume(len(views) > 1)
    found = subsets(views)
    assert len(found) == len(set(found)) == 2 ** len(views) - 1
    assert [len(each) for each in found] == sorted(len(each) for each in found)
    assert all(tuple(view for view in views if view in each) == each for each in found)


def test_the_regions_that_views_need() -> None:
    assert regions_of(parse_region_set("face,eye+mouth,keep:nose,drop:eye")) == {"eye", "mouth", "nose"}
