"""Differences between a task and the most similar stored result, as text."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fusionkit.grid.status import Difference, HeadRecords, nearest_cell, nearest_embedding


def component(name: str, **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "options": options,
        "revision": 1,
        "source": "aaaa",
        "files": ["weights"] if "weights" in options else [],
        "distribution": "my_pkg 0.1",
    }


def view(**changes: Any) -> dict[str, Any]:
    return {
        "revision": 1,
        "view": "face",
        "extractor": None,
        "backbone": component("hog", cell_size=8, weights=None),
        "tokens": 0,
        "precision": "float32",
        "device": "cpu",
        **changes,
    }


def data(**changes: Any) -> dict[str, Any]:
    whole = {"places": {"root": "/a"}, "fingerprint": "f0", "table": "t0", "frames": 300, "of": 300}
    return {**component("folder", by="class"), **whole, **changes}


def embedding(**changes: Any) -> dict[str, Any]:
    return {"data": data(), **view(), **changes}


def head(**changes: Any) -> dict[str, Any]:
    cropped = view(view="eye", extractor=component("template", layout="plain"))
    return {
        "revision": 1,
        "data": data(),
        "fold": {"name": "official", "digest": "d0"},
        "views": {"face": view(), "eye": cropped},
        "fusion": component("mlp", hidden=8),
        "recipe": {"lr": 0.001, "epochs": 30},
        "seed": 0,
        "device": "cpu",
        **changes,
    }


def changed(record: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """A copy with the value at a path replaced."""
    copied = copy.deepcopy(record)
    target = copied
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = to
    return copied


def texts(found: list[Difference] | None) -> list[str] | None:
    return None if found is None else [difference.text for difference in found]


@pytest.mark.parametrize(
    ("path", "before", "now", "text", "stale"),
    [
        (("backbone", "options", "cell_size"), 8, 6, "backbone hog: cell_size 8 -> 6", False),
        (("backbone", "options", "weights"), "11", "22", "backbone hog: weights file changed", True),
        (("backbone", "options", "weights"), None, "22", "backbone hog: weights null -> a file", False),
        (("backbone", "options", "weights"), "11", None, "backbone hog: weights a file -> null", False),
        (("backbone", "revision"), 1, 2, "backbone hog: revision 1 -> 2", True),
        (("backbone", "source"), "aaaa", "bbbb", "backbone hog: source code changed", True),
        (("precision",), "float32", "bfloat16", "precision float32 -> bfloat16", False),
        (("device",), "cpu", "cuda", "device cpu -> cuda", False),
        (("tokens",), 0, 16, "tokens 0 -> 16", False),
        (("revision",), 1, 2, "embedding: revision 1 -> 2", True),
        (("data", "fingerprint"), "f0", "f1", "data set folder: data changed (images or embeddings)", True),
        (("data", "options", "by"), "class", "person", "data set folder: by class -> person", False),
    ],
)
def test_every_part_of_an_embedding_is_named(
    path: tuple[str, ...], before: Any, now: Any, text: str, stale: bool
) -> None:
    wanted, stored = changed(embedding(), *path, to=now), changed(embedding(), *path, to=before)
    assert nearest_embedding(wanted, [stored]) == [Difference(text, stale)]


@pytest.mark.parametrize(
    ("path", "now", "text", "stale"),
    [
        (("seed",), 3, "seed 3 is new", False),
        (("recipe", "lr"), 0.0001, "recipe: lr 0.001 -> 0.0001", False),
        (("fusion", "options", "hidden"), 16, "fusion mlp: hidden 8 -> 16", False),
        (("fusion", "revision"), 2, "fusion mlp: revision 1 -> 2", True),
        (("fusion", "source"), "bbbb", "fusion mlp: source code changed", True),
        (("views", "eye", "extractor", "options", "layout"), "wide", "extractor template: layout plain -> wide", False),
        (("views", "eye", "backbone", "options", "cell_size"), 6, "backbone hog: cell_size 8 -> 6", False),
        (("views", "eye", "backbone"), component("timm"), "backbone hog -> timm", False),
        (("revision",), 2, "training: revision 1 -> 2", True),
        (("fold", "name"), "kfold/1", "fold kfold/1 is new", False),
        (("fold", "digest"), "d1", "split: fold official has other frames", True),
        (("device",), "cuda", "device cpu -> cuda", False),
        (("data", "fingerprint"), "f1", "data set folder: data changed (images or embeddings)", True),
    ],
)
def test_every_part_of_a_head_is_named(path: tuple[str, ...], now: Any, text: str, stale: bool) -> None:
    assert HeadRecords([head()]).nearest(changed(head(), *path, to=now)) == [Difference(text, stale)]


def test_a_new_version_of_a_plugin_is_named_with_what_it_changed() -> None:
    wanted = changed(head(), "fusion", "distribution", to="my_pkg 0.2")
    assert HeadRecords([head()]).nearest(wanted) == [], "a version decides nothing by itself"
    wanted = changed(wanted, "fusion", "source", to="bbbb")
    assert texts(HeadRecords([head()]).nearest(wanted)) == ["fusion mlp: source code changed (my_pkg 0.1 -> 0.2)"]
    wanted = changed(wanted, "fusion", "revision", to=2)
    assert texts(HeadRecords([head()]).nearest(wanted)) == ["fusion mlp: revision 1 -> 2 (my_pkg 0.1 -> 0.2)"]
    wanted = changed(wanted, "fusion", "distribution", to="my_fork 0.1")
    assert texts(HeadRecords([head()]).nearest(wanted)) == ["fusion mlp: revision 1 -> 2 (my_pkg 0.1 -> my_fork 0.1)"]


def test_an_option_that_came_or_went_lies_beneath_the_request() -> None:
    wanted = changed(head(), "fusion", "options", to={"width": 4})
    assert HeadRecords([head()]).nearest(wanted) == [
        Difference("fusion mlp: new option width = 4", stale=True),
        Difference("fusion mlp: option hidden was removed", stale=True),
    ]


def test_data_of_another_size_are_counted_and_a_limit_is_no_change_of_the_data() -> None:
    stored = embedding()
    wanted = embedding(data=data(fingerprint="f1", table="t1", frames=320, of=320))
    assert nearest_embedding(wanted, [stored]) == [
        Difference("data set folder: data changed (frames or labels, 300 -> 320 frames)", stale=True)
    ]
    wanted = embedding(data=data(fingerprint="f1", table="t1"))
    assert nearest_embedding(wanted, [stored]) == [
        Difference("data set folder: data changed (frames or labels)", stale=True)
    ]
    limited = embedding(data=data(fingerprint="f1", table="t1", frames=60))
    assert texts(nearest_embedding(limited, [stored])) == ["data set folder: data changed (frames or labels)"]
    wanted = embedding(data=data(fingerprint="f1", frames=60))
    assert nearest_embedding(wanted, [stored]) == [
        Difference("data set folder: other limit, 300 -> 60 frames", stale=False)
    ]


@pytest.mark.parametrize("size", [{}, {"frames": 60}, {"table": "t1", "frames": 60, "of": 90}])
def test_another_root_is_other_data_however_many_frames_it_has(size: dict[str, Any]) -> None:
    text = "data set folder: other data (root /a, now root /b)"
    other = data(fingerprint="f1", places={"root": "/b"}, **size)
    assert nearest_embedding(embedding(data=other), [embedding()]) == [Difference(text, stale=False)]
    assert HeadRecords([head()]).nearest(head(data=other)) == [Difference(text, stale=False)]
    moved = data(places={"root": "/b"})
    assert HeadRecords([head()]).nearest(head(data=moved)) == [], "the same data in another place"


def test_a_result_of_the_same_root_goes_before_one_of_another() -> None:
    here, there = data(frames=60, fingerprint="f2"), data(fingerprint="f1", places={"root": "/b"})
    for stored in ([here, there], [there, here]):
        embeddings, heads = [embedding(data=each) for each in stored], [head(data=each) for each in stored]
        expected = ["data set folder: other limit, 60 -> 300 frames"]
        assert texts(nearest_embedding(embedding(), embeddings)) == expected
        assert texts(HeadRecords(heads).nearest(head())) == expected


@pytest.mark.parametrize(
    ("now", "text", "stale"),
    [
        ({"options": {"layout": "wide"}}, "extractor template: layout plain -> wide", False),
        ({"source": "bbbb"}, "extractor template: source code changed", True),
        ({"revision": 2}, "extractor template: revision 1 -> 2", True),
        ({"name": "yunet"}, "extractor template -> yunet", False),
    ],
)
def test_a_component_within_an_option_is_named(now: dict[str, Any], text: str, stale: bool) -> None:
    template = {"name": "template", "options": {"layout": "plain"}, "revision": 1, "source": "aaaa"}
    stored = data(nested={"extractor": template})
    wanted = data(nested={"extractor": {**template, **now}}, fingerprint="f1")
    expected = [Difference(f"data set folder: {text}", stale)]
    assert nearest_embedding(embedding(data=wanted), [embedding(data=stored)]) == expected


def test_other_data_are_divided_otherwise_which_goes_without_saying() -> None:
    wanted = changed(changed(head(), "data", "fingerprint", to="f1"), "fold", "digest", to="d1")
    assert texts(HeadRecords([head()]).nearest(wanted)) == ["data set folder: data changed (images or embeddings)"]


def test_what_all_views_share_is_said_once() -> None:
    wanted = changed(head(), "views", "eye", "backbone", "options", "cell_size", to=6)
    wanted = changed(wanted, "views", "face", "backbone", "options", "cell_size", to=6)
    assert texts(HeadRecords([head()]).nearest(wanted)) == ["backbone hog: cell_size 8 -> 6"]


def test_the_nearest_is_the_one_with_the_fewest_differences() -> None:
    far = changed(changed(head(), "recipe", "lr", to=0.1), "fusion", "revision", to=7)
    near = changed(head(), "recipe", "lr", to=0.01)
    for stored in ([far, near], [near, far]):
        assert texts(HeadRecords(stored).nearest(head())) == ["recipe: lr 0.01 -> 0.001"]


def test_one_of_the_same_seed_and_fold_goes_before_a_nearer_one_of_another() -> None:
    other_seed = changed(head(), "seed", to=1)
    same_seed = changed(changed(head(), "recipe", "lr", to=0.1), "recipe", "epochs", to=5)
    assert texts(HeadRecords([other_seed, same_seed]).nearest(head())) == [
        "recipe: lr 0.1 -> 0.001",
        "recipe: epochs 5 -> 30",
    ]
    assert texts(HeadRecords([other_seed]).nearest(head())) == ["seed 0 is new"]


@pytest.mark.parametrize(
    "stored",
    [
        changed(head(), "views", to={"face": view()}),
        changed(head(), "fusion", "name", to="concat"),
        changed(head(), "data", "name", to="synthetic"),
        {},
        {"data": None},
        {**head(), "fold": None},
    ],
)
def test_what_is_of_another_kind_or_form_is_not_comparable(stored: dict[str, Any]) -> None:
    assert HeadRecords([stored]).nearest(head()) is None
    assert texts(HeadRecords([stored, head()]).nearest(changed(head(), "seed", to=2))) == ["seed 2 is new"]


def test_the_order_of_views_counts_since_the_first_is_the_main_one() -> None:
    turned = {name: head()["views"][name] for name in ("eye", "face")}
    assert HeadRecords([head()]).nearest(head(views=turned)) is None


def test_an_embedding_is_held_against_the_same_view_and_backbone_only() -> None:
    assert nearest_embedding(embedding(), [embedding(view="eye"), embedding(backbone=component("timm"))]) is None
    ready = {"data": data(), "view": "face", "extractor": None, "backbone": None}
    assert nearest_embedding(ready, [embedding()]) is None
    assert nearest_embedding(ready, [changed(ready, "data", "fingerprint", to="f9")]) == [
        Difference("data set folder: data changed (images or embeddings)", stale=True)
    ]


def test_tuples_are_the_lists_that_they_come_back_as() -> None:
    wanted = embedding(backbone=component("hog", sizes=(1, 2)))
    assert nearest_embedding(wanted, [embedding(backbone=component("hog", sizes=[1, 2]))]) == []


def test_a_cell_names_its_smoother_and_the_revisions_of_the_kernel() -> None:
    stored = {"smoother": component("window", width=5), "revisions": {"smoothing": 1, "scoring": 1}}
    stored |= {"recipe": "default", "impute": "nearest"}
    wanted = changed(stored, "smoother", "options", "width", to=25)
    assert nearest_cell(wanted, [stored]) == [Difference("smoother window: width 5 -> 25")]
    wanted = changed(stored, "revisions", "scoring", to=2)
    assert nearest_cell(wanted, [stored]) == [Difference("scoring: revision 1 -> 2", stale=True)]
    wanted = changed(stored, "recipe", to="lr=[0.001,0.01]")
    assert nearest_cell(wanted, [stored]) == [Difference("recipe default -> lr=[0.001,0.01]")]
    wanted = changed(stored, "impute", to="prior")
    assert nearest_cell(wanted, [stored]) == [Difference("impute nearest -> prior")]
    assert nearest_cell(stored, [changed(stored, "smoother", "name", to="none")]) is None


def test_among_many_configurations_that_with_the_same_options_is_found() -> None:
    stored = [
        changed(changed(head(seed=seed), "fusion", "options", to={"hidden": hidden}), "fusion", "source", to="old")
        for hidden in range(1, 200)
        for seed in range(3)
    ]
    records = HeadRecords(stored)
    for hidden, seed, expected in [(150, 2, []), (150, 9, ["seed 9 is new"])]:
        wanted = changed(head(seed=seed), "fusion", "options", to={"hidden": hidden})
        found = records.nearest(wanted)
        assert texts(found) == ["fusion mlp: source code changed (my_pkg 0.1)", *expected] or texts(found) == [
            "fusion mlp: source code changed",
            *expected,
        ]
