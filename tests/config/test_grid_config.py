"""A grid's description: checked whole, every mistake at once, frozen and hashed."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusionkit.config.config_file import find_config, read_config
from fusionkit.config.grid_config import GridConfig, resolve
from fusionkit.config.keys import DEFAULTS
from fusionkit.config.views import View
from fusionkit.errors import ConfigError
from fusionkit.registry.spec import Spec

RAW: dict[str, Any] = {
    "datasets": ["synthetic"],
    "extractor": "template",
    "backbones": ["hog"],
    "regions": ["eye,mouth"],
    "fusions": ["concat", "mlp"],
    "smoothers": ["none"],
}


def grid(**changed: Any) -> GridConfig:
    return resolve({**RAW, **changed}, "test")


def problems(**changed: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        grid(**changed)
    found = refused.value.problems
    assert all("\n" not in problem for problem in found)
    assert len(set(found)) == len(found)
    return found


def test_missing_keys_have_their_defaults() -> None:
    found = grid()
    assert (found.split, found.main, found.reference) == (Spec("auto"), View("face"), "main")
    assert (found.seeds, found.limit, found.recipe) == ((0, 1, 2, 3, 4), None, ())


def test_a_config_may_leave_out_every_key() -> None:
    quickstart = resolve(read_config(find_config("bench/quickstart")), "test")
    assert resolve({}, "test") == quickstart
    assert resolve({key: None for key in DEFAULTS["bench"] if key != "main"}, "test") == quickstart
    assert [len(views) for views in resolve({"subsets": "eye,mouth"}, "test").regions] == [1, 1, 2]


def test_a_text_is_a_comma_list_as_on_the_command_line() -> None:
    found = grid(fusions="mlp:hidden=8,dropout=0.1, concat", backbones="hog,hog:size=48", recipe="lr=[1,2],epochs=3")
    assert [str(spec) for spec in found.fusions] == ["mlp:dropout=0.1,hidden=8", "concat"]
    assert [str(choice) for choice in found.backbones] == ["hog", "hog:size=48"]
    assert found.recipe == (("epochs", 3), ("lr", (1, 2)))
    assert problems(fusions="hidden=3", recipe="lr") == [
        "fusions: 'hidden=3' starts with an option (start with a component: name:key=value)",
        "recipe: 'lr' in 'recipe:lr' is not an option (key=value)",
    ]


def test_arrays_in_place_of_a_component_are_answered_in_one_line() -> None:
    (problem,) = problems(datasets=[np.zeros((40, 30))])
    hint = "fusionkit.from_arrays writes a data set of arrays or columns of a frame"
    assert problem == f"datasets: a value of type ndarray is not a component ({hint})"


def test_an_option_that_is_given_as_a_key_is_answered_with_where_it_belongs() -> None:
    assert problems(epochs=3, hidden=8, subject="p", datasets="folder", fusions=["mlp", "gated"])[:3] == [
        "unknown key 'epochs': it is an option of recipe (write recipe: {epochs: ...})",
        "unknown key 'hidden': it is an option of fusion mlp (write fusions: mlp:hidden=...)",
        "unknown key 'subject': it is an option of dataset folder (write datasets: folder:subject=...)",
    ]


def test_every_kind_of_mistake_is_reported_at_once_and_once() -> None:
    found = problems(
        seedz=3,
        limt=5,
        datasets="syntetic",
        split="kfld",
        backbones=["hogg", {"face": "hog:szie=3", "default": "hog"}],
        regions=["eyee,mouth", "muoth", "nose+"],
        fusions=["concat:wdith=3,hiden=4", "mlpp", "os.system"],
        smoothers=["window:width=-3", "windw"],
        recipe={"lrr": 1, "epochs": 0},
        seeds=0,
        limit=-1,
    )
    for message in [
        "unknown key 'seedz' (did you mean 'seeds'?)",
        "unknown key 'limt' (did you mean 'limit'",
        "datasets: unknown dataset 'syntetic' (did you mean 'synthetic'?)",
        "unknown split 'kfld' (did you mean 'kfold'?)",
        "backbones: unknown backbone 'hogg' (did you mean 'hog'?)",
        "backbones: backbone 'hog': unknown option 'szie' (did you mean 'size'?)",
        "regions: 'nose+' is not a view",
        "regions: extractor 'template' has no region 'eyee' (did you mean 'eye'?)",
        "regions: extractor 'template' has no region 'muoth' (did you mean 'mouth'?)",
        "fusions: fusion 'concat': unknown option 'wdith' (did you mean 'width'?)",
        "fusions: fusion 'concat': unknown option 'hiden' (did you mean 'hidden'?)",
        "fusions: unknown fusion 'mlpp' (did you mean 'mlp'?)",
        "fusions: 'os.system' is a dotted path",
        "smoothers: smoother 'window': option width = -3 must be at least 1",
        "smoothers: unknown smoother 'windw' (did you mean 'window'?)",
        "recipe: unknown option 'lrr' (did you mean 'lr'?)",
        "recipe: option epochs = 0 must be at least 1",
        "seeds = 0 must be at least 1",
        "limit = -1 must be at least 1",
    ]:
        assert sum(problem.startswith(message) for problem in found) == 1, (message, found)
    assert len(found) == 19


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"datasets": []}, ["datasets: no dataset given"]),
        ({"fusions": []}, ["fusions: no fusion given"]),
        ({"backbones": []}, ["backbones: no backbone given"]),
        ({"regions": []}, ["regions: no region set given"]),
        ({"regions": [], "recipe": 3}, ["regions: no region set given", "recipe: 3 is not a mapping"]),
        ({"regions": [5]}, ["regions: 5 is not a region set"]),
        ({"regions": [["eye", 3]]}, ["regions: 3 is not a view"]),
        ({"regions": ["eye,eye"]}, ["regions: region set 'eye,eye' contains a view twice"]),
        ({"main": "Eye"}, ["main: 'Eye' is not a view"]),
        ({"main": 3}, ["main: 3 is not a view"]),
        ({"main": "eye+", "reference": "main"}, ["main: 'eye+' is not a view"]),
        ({"main": "fac"}, ["regions: extractor 'template' has no region 'fac' (did you mean 'face'?)"]),
        ({"main": "none", "regions": ["eye+"]}, ["regions: 'eye+' is not a view"]),
        ({"main": "none", "reference": "main"}, ["reference: 'main' needs a main view"]),
        ({"reference": 5}, ["reference: 5 is not a region set"]),
        ({"reference": "noze"}, ["regions: extractor 'template' has no region 'noze' (did you mean 'nose'?)"]),
        ({"fusions": [{"type": "concat", "width": {1}}]}, ["fusions: 'concat': option width = {1} is not plain data"]),
        ({"fusions": [{"typ": "concat"}]}, ["fusions: {'typ': 'concat'} is not a component"]),
        ({"seeds": 99_999_999_999}, ["seeds: 99,999,999,999 seeds; at most 100,000"]),
        ({"seeds": range(10**9)}, ["seeds: 100,001 seeds; at most 100,000"]),
        ({"seeds": [2**32]}, ["seeds: 4294967296 must be at most 4294967295"]),
        ({"subsets": ",".join(f"r{n}" for n in range(40))}, ["subsets: 40 views have 1,099,511,627,775 subsets"]),
        (
            {"seeds": 1_000, "recipe": {"lr": [0.1] * 11, "epochs": [1] * 10}},
            ["the grid has 220,000 combinations (2 fusions x 1,000 seeds x 10 epochs x 11 lr); at most 100,000"],
        ),
        (
            {"recipe": {name: [1] * 40 for name in ("lr", "epochs")}},
            ["recipe: the sweep has 1,600 recipes; at most 1,000"],
        ),
        ({"seeds": [True]}, ["seeds = [True] must be int >= 1 | list[int >= 0]"]),
        ({"seeds": [0, -1]}, ["seeds = [0, -1] must be int >= 1 | list[int >= 0]"]),
        ({"seeds": "3"}, ["seeds = '3' must be int >= 1"]),
        ({"seeds": []}, ["seeds = [] must be a number or a list"]),
        ({"seeds": True}, ["seeds = True must be int >= 1"]),
        ({"limit": True}, ["limit = True must be int >= 1 | null"]),
        ({"split": "holdout:test=0.7"}, ["split 'holdout': option test = 0.7 must be above 0 and at most 0.5"]),
        ({"split": 5}, ["split: 5 is not a component"]),
        ({"impute": "nearst"}, ["impute = 'nearst' must be one of: nearest, linear, prior (did you mean 'nearest'?)"]),
        ({"extractor": "template:layout=nothing"}, ["extractor"]),
        ({"plugins": ["nothing.py"]}, ["plugin 'nothing.py' cannot be read"]),
        ({"custom_imports": ["nothing_like_it"]}, ["custom_imports: 'nothing_like_it' cannot be imported"]),
        ({"custom_imports": {"import": ["x"]}}, ["custom_imports: {'import': ['x']} lacks 'imports'"]),
        ({3: 4}, ["unknown key 3; known: "]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(changed: dict[Any, Any], message: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve({**RAW, **changed}, "test")
    found = refused.value.problems
    assert len(found) == len(message)
    assert all(problem.startswith(start) for problem, start in zip(found, message, strict=True)), found


def test_a_plugin_that_is_loaded_first_is_known_to_the_axes(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from fusionkit.contracts import StackedFusion\nfrom fusionkit.registry import FUSIONS\n"
        "@FUSIONS.register_module('config-test')\nclass Mine(StackedFusion):\n    recipe = {'lrr': 3, 'epochs': 2}\n",
        encoding="utf-8",
    )
    try:
        assert problems(plugins=str(path), fusions="config-test") == [
            "fusions: recipe of fusion 'config-test': unknown option 'lrr' (did you mean 'lr'?)"
        ]
    finally:
        from fusionkit.registry import FUSIONS

        del FUSIONS._registered["config-test"]
        FUSIONS._classes.module_dict.pop("config-test")


def test_a_backbone_may_differ_per_view() -> None:
    (choice,) = grid(backbones={"eye": "hog:size=48", "default": {"type": "hog"}}).backbones
    assert choice.of(View.parse("eye")) == Spec("hog", {"size": 48})
    assert choice.of(View.parse("face")) == choice.of(View.parse("mouth")) == Spec("hog")
    assert str(choice) == "eye=hog:size=48|default=hog"
    assert grid(backbones={"default": "hog", "eye": "hog:size=48"}).backbones == (choice,)


@pytest.mark.parametrize(
    ("backbones", "message"),
    [
        ({"face": "hog"}, ["backbones: no backbone for view 'eye'", "backbones: no backbone for view 'mouth'"]),
        (
            {"fcae": "hog", "default": "hog"},
            ["regions: extractor 'template' has no region 'fcae' (did you mean 'face'"],
        ),
        ({1: "hog", "default": "hog"}, ["backbones: 1 is not a view"]),
        ({"keep:a+b": "hog", "keep:b+a": "hog"}, ["backbones: view 'keep:a+b' has two backbones"]),
    ],
)
def test_a_view_without_a_backbone_of_its_own_is_refused(backbones: dict[Any, Any], message: list[str]) -> None:
    found = problems(backbones=backbones)
    assert all(any(problem.startswith(start) for problem in found) for start in message), found


def test_the_reference_is_the_main_view_or_the_first_region_set() -> None:
    assert grid().reference == "main"
    assert grid(reference="none").reference is None
    assert grid(reference="nose").reference == (View.parse("nose"),)
    assert grid(main="none", regions=["nose", "eye"]).reference == (View.parse("nose"),)
    assert grid(main=None, regions=[], subsets=["mouth,eye"]).reference == (View.parse("mouth"),)


def test_a_value_that_is_given_twice_counts_once_in_order() -> None:
    found = grid(fusions=["mlp", "concat", "mlp"], regions=["eye", "nose", "eye"], seeds=[3, 1, 3])
    assert [str(fusion) for fusion in found.fusions] == ["mlp", "concat"]
    assert len(found.regions) == 2
    assert found.seeds == (3, 1)
    assert grid(seeds=range(2, 4)).seeds == (2, 3)
    subsets = grid(regions=["mouth"], subsets="eye,mouth")
    assert [len(views) for views in subsets.regions] == [1, 1, 2]


FULL: dict[str, Any] = {
    **RAW,
    "fusions": [{"type": "concat", "width": 64, "hidden": 32}],
    "recipe": {"lr": 0.1, "epochs": 2},
    "backbones": [{"mouth": "hog:size=32", "eye": "hog:size=48,cell_size=8", "default": "hog"}],
}


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in random.Random(0).sample(list(value), len(value))}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert resolve(shuffled(FULL), "x").digest() == resolve(FULL, "y").digest()
    written = {**FULL, "fusions": "concat:hidden=32,width=64"}
    assert resolve(written, "x").digest() == resolve(FULL, "x").digest()


def test_the_hash_does_not_depend_on_whether_a_key_s_default_is_written() -> None:
    defaults = {"split": "auto", "main": "face", "recipe": {}, "seeds": 5, "reference": "main", "limit": None}
    assert grid(**defaults).digest() == grid().digest()
    assert grid(subsets=[], seeds=[0, 1, 2, 3, 4], plugins=[]).digest() == grid().digest()


@pytest.mark.parametrize(
    "changed",
    [{"seeds": 4}, {"regions": ["mouth,eye"]}, {"fusions": ["mlp", "concat"]}, {"limit": 5}, {"recipe": {"lr": 0.1}}],
)
def test_the_hash_depends_on_what_is_asked_for(changed: dict[str, Any]) -> None:
    assert grid(**changed).digest() != grid().digest()


def test_a_description_is_plain_data_that_resolves_to_itself() -> None:
    found = resolve(FULL, "x")
    back = resolve(json.loads(json.dumps(found.describe())), "x")
    assert back.describe() == found.describe()
    assert back == found
