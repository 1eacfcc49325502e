"""Config files: shipped ones, overrides, and data that stay data."""

import contextlib
import gc
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config

from fusionkit.config.config_file import find_config, read_config, shipped_folder, shipped_names
from fusionkit.config.grid_config import resolve
from fusionkit.errors import ConfigError
from fusionkit.registry.spec import Spec

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
TAG = '!!python/object/apply:os.mkdir ["executed"]'


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    """Collections inside these tests skip all older objects: with every library loaded, one takes over a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run in their own folder: a tag that is executed leaves the folder ``executed`` there."""
    monkeypatch.chdir(tmp_path)


def write(folder: Path, **files: str) -> Path:
    """Files by stem_suffix; the first one is given back."""
    paths = [folder / name.replace("_", ".") for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths[0]


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        read_config(path, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shipped_configs_are_known_by_name_and_bases_are_not_offered() -> None:
    assert {"bench/quickstart", "bench/regions"} <= set(shipped_names())
    assert not any(name.startswith("_") for name in shipped_names())
    assert find_config("bench/quickstart").name == "quickstart.py"


def test_the_quickstart_is_what_the_readme_says() -> None:
    grid = resolve(read_config(find_config("bench/quickstart")), "quickstart")
    assert grid.describe() | {"smoothers": None} == {
        "datasets": ["synthetic"],
        "task": ["expression"],
        "split": "auto",
        "extractor": ["template:layout=emotic"],
        "backbones": ["hog"],
        "main": "face",
        "regions": ["eye,mouth"],
        "fusions": ["concat"],
        "smoothers": None,
        "recipe": {},
        "seeds": [0, 1, 2, 3, 4],
        "reference": "main",
        "limit": None,
    }


@pytest.mark.parametrize("name", ["bench/quikstart", "quickstart.py", "", ".", "nothing.yaml", "~nobody/x.py"])
def test_an_unknown_config_brings_the_shipped_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="no config") as error:
        find_config(name)
    assert "shipped configs: bench/" in str(error.value)
    if "qui" in name:
        assert "did you mean 'bench/quickstart'" in str(error.value)


PY = """
from pathlib import Path
import os
_helper = 3
fusions = ["concat", dict(type="mlp", hidden=8)]
recipe = dict(lr=0.1, epochs=_helper)
seeds = [1, 2]
"""


def test_imports_and_private_names_of_a_py_config_are_no_keys(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, a_py=PY)) == {
        "fusions": ["concat", {"type": "mlp", "hidden": 8}],
        "recipe": {"lr": 0.1, "epochs": 3},
        "seeds": [1, 2],
    }


def test_overrides_reach_into_mappings_and_lists(tmp_path: Path) -> None:
    overrides = ["recipe.lr=1e-4", "fusions.0=mean", "fusions.1.hidden=16", "limit=7", "split=holdout:test=0.3"]
    overrides += ["seeds=[5]", "seeds.0=6", "extractor.0.layout=x=y"]
    path = write(tmp_path, a_py=PY + "extractor = [dict(type='template')]\n")
    assert read_config(path, overrides) == {
        "fusions": ["mean", {"type": "mlp", "hidden": 16}],
        "recipe": {"lr": 1e-4, "epochs": 3},
        "seeds": [6],
        "limit": 7,
        "split": "holdout:test=0.3",
        "extractor": [{"type": "template", "layout": "x=y"}],
    }
    assert Spec.parse(str(read_config(path, ["split=holdout"])["split"])) == Spec("holdout")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe", "is not key=value"),
        ("=3", "is not key=value"),
        ("recipe..lr=3", "is not key=value"),
        ("fusions.2=mean", "'2' is not an index of the list fusions (use 0..1)"),
        ("fusions.-1=mean", "'-1' is not an index of the list fusions"),
        ("fusions.x=mean", "'x' is not an index of the list fusions"),
        ("fusions.0.width=3", "fusions.0 is 'concat', which has no keys"),
        ("recipe.lr.x=3", "recipe.lr is 0.1, which has no keys"),
    ],
)
def test_an_override_of_a_missing_item_is_refused(tmp_path: Path, override: str, message: str) -> None:
    assert message in refused(write(tmp_path, a_py=PY), override)


def test_yaml_and_json_configs_merge_into_their_bases(tmp_path: Path) -> None:
    base = "recipe: {lr: 0.1, epochs: 3}\nfusions: [concat, mlp]\nmain: none\n"
    path = write(
        tmp_path,
        a_yaml="_base_: [b.yml, c.json]\nrecipe: {lr: 0.2}\nfusions: [mean]\n",
        b_yml=base,
        c_json='{"seeds": 2}',
    )
    wanted = {"recipe": {"lr": 0.2, "epochs": 3}, "fusions": ["mean"], "main": "none", "seeds": 2}
    assert read_config(path) == wanted
    assert read_config(path, ["recipe.epochs=4"]) == wanted | {"recipe": {"lr": 0.2, "epochs": 4}}
    forgets = write(tmp_path, d_yaml="_base_: b.yml\nrecipe: {_delete_: true, lr: 0.2}\n")
    assert read_config(forgets)["recipe"] == {"lr": 0.2}


SMUGGLED = f"a: 'x {{{{$NOT_SET_HERE:''}}}}\nb: {TAG}\nc: '' #'\n"


@pytest.mark.parametrize(
    "files",
    [
        {"a_yaml": f"seeds: {TAG}\n"},
        {"a_yaml": "_base_: b.yaml\n", "b_yaml": f"seeds: {TAG}\n"},
        {"a_yaml": "_base_: [b.yaml]\n", "b_yaml": "_base_: c.yml\n", "c_yml": f"x: [{{y: {TAG}}}]\n"},
        {"a_py": "_base_ = 'b.yaml'\n", "b_yaml": f"seeds: {TAG}\n"},
        {"a_py": "_base_ = ['b.py']\n", "b_py": "_base_ = ['c.yml', 'd.py']\n", "d_py": "", "c_yml": f"x: {TAG}\n"},
        {"a_yaml": "seeds: !!python/name:os.mkdir\n"},
    ],
)
def test_a_python_tag_is_refused_and_never_executed(tmp_path: Path, files: dict[str, str]) -> None:
    assert refused(write(tmp_path, **files))
    assert not (tmp_path / "executed").exists()


def test_substitution_cannot_create_a_tag(tmp_path: Path) -> None:
    """mmengine replaces ``{{$NAME:default}}`` in the text before it parses it, which here sets a tag free."""
    path = write(tmp_path, a_yaml=SMUGGLED)
    assert list(read_config(path)) == ["a"]
    assert not (tmp_path / "executed").exists()
    with contextlib.suppress(Exception):
        Config.fromfile(str(path), lazy_import=False)
    assert (tmp_path / "executed").exists(), "the attack does not work on this mmengine: this test shows nothing"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a_yaml": "custom_imports: [os]\n"}, "custom_imports loads code"),
        ({"a_json": '{"custom_imports": {"imports": ["os"]}}'}, "custom_imports loads code"),
        ({"a_yaml": "plugins: [mine.py]\n"}, "plugins loads code"),
        ({"a_yaml": "_base_: b.yaml\n", "b_yaml": "custom_imports: [os]\n"}, "custom_imports loads code"),
        ({"a_yaml": "_base_: b.py\n", "b_py": "import os\n"}, "base 'b.py' is not plain data"),
        ({"a_yaml": "_base_: mmdet::x.yaml\n"}, "no base 'mmdet::x.yaml' beside it; shipped configs: bench/"),
        ({"a_yaml": "_base_: [3]\n"}, "base 3 must be a path or the name of a shipped config"),
        (
            {"a_yaml": "_base_: bench/quikstart\n"},
            "no base 'bench/quikstart' beside it (did you mean 'bench/quickstart'",
        ),
        (
            {"a_py": "_base_ = 'bench/quikstart'\n"},
            "no base 'bench/quikstart' beside it (did you mean 'bench/quickstart'",
        ),
        ({"a_py": "_base_ = [name for name in 'ab']\n"}, "_base_ must be text or a list of texts, written out"),
        ({"a_yaml": "_base_: a.yaml\n"}, "is its own base"),
        ({"a_py": "_base_ = 'b.py'\n", "b_py": "_base_ = ['a.py']\n"}, "is its own base"),
        ({"a_yaml": "_base_: [b.yaml, c.yaml]\n", "b_yaml": "seeds: 1\n", "c_yaml": "seeds: 2\n"}, "set seeds"),
        ({"a_yaml": "_base_: b.yaml\nrecipe: {lr: 1}\n", "b_yaml": "recipe: 3\n"}, "recipe"),
        ({"a_yaml": "seeds: 3\na: [1\n"}, "a.yaml:3: not plain YAML: while parsing a flow sequence"),
        ({"a_yaml": "[1, 2]\n"}, "must be a mapping of keys, not list"),
        ({"a_yaml": ""}, "the config has no keys"),
        ({"a_yaml": "1: 2\n"}, "key 1 must be str"),
        ({"a_json": "{\n'a': 1}"}, "a.json:2: not JSON at column 1: "),
        ({"a_json": "[" * 100_000}, "a.json: values are nested too deeply"),
        ({"a_yaml": "[" * 100_000}, "a.yaml: values are nested too deeply"),
        ({"a_yaml": "seeds: 1\nlimit: 2\nseeds: 3\n"}, "a.yaml:3: key 'seeds' is given twice"),
        ({"a_yaml": "recipe: {lr: 1, epochs: 2, lr: 3}\n"}, "a.yaml:1: key 'lr' is given twice"),
        ({"a_json": '{"seeds": 1,\n"limit": 2,\n"seeds": 3}'}, "a.json:3: key 'seeds' is given twice"),
        ({"a_json": '{"recipe": {"lr": 1, "lr": 3}}'}, "a.json:1: key 'lr' is given twice"),
        ({"a_json": '{\n"seeds": 1' + "0" * 5_000 + "}"}, "a.json:2: a number of 5,001 digits"),
        ({"a_yaml": LAUGHS}, "a.yaml: aliases expand to more than 100,000 values"),
        ({"a_yaml": "datasets: &a [*a]\n"}, "a.yaml:1: a value contains itself by its alias"),
        ({"a_yaml": "#" * 300_000}, "a.yaml cannot be read: it has 300,000 bytes; at most 262,144 are read"),
        ({"a_toml": "a = 1\n"}, "suffix '.toml' must be one of: .py, .yaml"),
        ({"a_py": "def (:\n"}, "SyntaxError: invalid syntax (a.py, line 1)"),
        ({"a_py": "_base_ = 'b.py'\n", "b_py": "seeds = 3\n\n1 / 0\n"}, "b.py, line 3: ZeroDivisionError"),
        ({"a_py": "raise SystemExit(0)\n"}, "SystemExit"),
        ({"a_py": "_base_ = 'nothing.py'\n"}, "nothing.py"),
    ],
)
def test_an_unusable_config_is_refused_with_the_reason(tmp_path: Path, files: dict[str, str], message: str) -> None:
    assert message in refused(write(tmp_path, **files))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"seeds: 3\n\xff\xfe\x00\xd8 \x80")
    assert "a.yaml:2: not UTF-8 text" in refused(tmp_path / "a.yaml")


@pytest.mark.parametrize(("name", "text"), [("a.yaml", "seeds: 3\n"), ("a.json", '{"seeds": 3}')])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_config(tmp_path / name) == {"seeds": 3}


def test_aliases_and_merged_keys_of_yaml_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, a_yaml="recipe: &r {lr: 1, epochs: 2}\nregions: [&e eye, *e]\nother: {<<: *r, lr: 3}\n")
    assert read_config(path) == {
        "recipe": {"lr": 1, "epochs": 2},
        "regions": ["eye", "eye"],
        "other": {"lr": 3, "epochs": 2},
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_or_device_is_no_config(tmp_path: Path) -> None:
    for path in (tmp_path / "pipe.yaml", tmp_path / "device.py"):
        os.mkfifo(path) if path.suffix == ".yaml" else path.symlink_to("/dev/zero")
        with pytest.raises(ConfigError, match="cannot be read: it is a pipe or a device"):
            find_config(str(path))


def test_a_config_of_another_command_is_refused_naming_it() -> None:
    for name in shipped_names():
        kind = {"pretrain": "pretrain", "finetune": "finetune"}.get(name.partition("/")[0], "bench")
        kind = "finetune" if name == "paper/position" else kind
        for command in ("bench", "finetune", "pretrain"):
            if command == kind:
                assert read_config(find_config(name), command=command) == read_config(find_config(name))
                continue
            with pytest.raises(ConfigError, match=f"is a config of fusionkit {kind}, not of {command}$"):
                read_config(find_config(name), command=command)


def test_shipped_configs_are_bases_by_name(tmp_path: Path) -> None:
    shipped = read_config(find_config("paper/regions"))
    files = {
        "a_yaml": "_base_: paper/regions\nfusions: [mlp]\n",
        "b_json": '{"_base_": ["paper/regions"], "fusions": ["mlp"]}',
        "c_py": "_base_ = 'paper/regions'\nfusions = ['mlp']\n",
    }
    for name, text in files.items():
        assert read_config(write(tmp_path, **{name: text})) == {**shipped, "fusions": ["mlp"]}


def test_a_file_beside_the_config_goes_before_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    write(tmp_path / "bench", quickstart_yaml="seeds: 9\n")
    assert read_config(write(tmp_path, a_yaml="_base_: bench/quickstart.yaml\n")) == {"seeds": 9}


def test_no_path_leads_from_a_data_config_to_code_that_is_not_shipped(tmp_path: Path) -> None:
    write(tmp_path, evil_py="import os\nos.mkdir('executed')\n")
    for base in (tmp_path / "evil", Path(os.path.relpath(tmp_path / "evil", shipped_folder()))):
        assert "no base" in refused(write(tmp_path, a_yaml=f"_base_: {base}\n"))
    assert not (tmp_path / "executed").exists()


def test_a_py_config_extends_the_lists_of_its_bases(tmp_path: Path) -> None:
    files = {
        "a_py": "_base_ = ['b.yaml', 'c.py']\nfusions = _base_.fusions + ['mlp']\nrecipe = {'lr': _base_.recipe.lr}\n",
        "b_yaml": "fusions: [concat]\n",
        "c_py": "recipe = {'lr': 0.5, 'epochs': 3}\n",
    }
    wanted = {"fusions": ["concat", "mlp"], "recipe": {"lr": 0.5, "epochs": 3}}
    assert read_config(write(tmp_path, **files)) == wanted


TYPOS = [
    ({"dataset": "synthetic", "fusion": "mlp"}, "unknown key 'dataset' (did you mean 'datasets'?)"),
    ({"backbone": "hog"}, "unknown key 'backbone' (did you mean 'backbones'?)"),
    ({"smoother": "none", "seed": 3}, "unknown key 'smoother' (did you mean 'smoothers'"),
    ({"x": 3}, "if it is a helper, name it _x, which is ignored"),
    ({"x": 3, "view": "face"}, "unknown key 'view'; known: datasets, "),
]


@pytest.mark.parametrize(("config", "message"), TYPOS)
def test_a_misspelt_key_brings_the_nearest_one_of_the_same_command(
    config: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve(read_config(tmp_path / "a.json", command="bench"), "a")


def test_a_config_without_keys_of_one_command_is_read(tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text("seeds: 3\nlimit: 9\n", encoding="utf-8")
    assert read_config(tmp_path / "few.yaml", command="bench") == {"seeds": 3, "limit": 9}
