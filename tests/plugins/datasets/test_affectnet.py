"""AffectNet in its four layouts."""

import contextlib
import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import greys, image, labels, write
from toy_tasks import divided

from fusionkit.errors import ConfigError, DataError
from fusionkit.registry.spec import Spec
from fusionkit_datasets.affectnet import AffectNet, npy_scalar

NAMES = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"]
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
LISTS = "Manually_Annotated_file_lists"


def table(expressions: list[object], folder: str, box: str = "0,0,99,99") -> list[str]:
    return [f"{folder}/{i}.jpg,{box},1;2;3;4,{each},0.1,-2" for i, each in enumerate(expressions)]


def full(
    root: Path,
    train: list[object],
    val: list[object],
    *,
    box: str = "0,0,99,99",
    lists: str = LISTS,
    header: str = HEADER,
) -> str:
    """Both csv files, and an image for each line: its grey value is its place in the file."""
    for name, folder, expressions in (("training", "10", train), ("validation", "7", val)):
        lines = ([header] if header else []) + table(expressions, folder, box)
        write(root / lists / f"{name}.csv", "\r\n".join(lines) + "\r\n")
        for i in range(len(expressions)):
            image(root / "Manually_Annotated_Images" / folder / f"{i}.jpg", i)
    return str(root)


def test_csv_numbers_are_names_and_what_is_no_expression_is_counted(tmp_path):
    data = AffectNet(full(tmp_path, [*range(11), 8], [3, 10]))
    assert data.classes == tuple(NAMES)
    assert labels(data) == [*NAMES, "Surprise"]
    assert data.frames.split.tolist() == ["train"] * 8 + ["val"]
    assert data.dropped == {"None": 2, "Uncertain": 1, "Non-face": 2}
    assert greys(data) == [*range(8), 0]


@pytest.mark.parametrize("lists", [LISTS, "file_lists", "."])
@pytest.mark.parametrize("header", [HEADER, ""])
def test_the_csv_files_may_lie_elsewhere_and_lack_their_header(tmp_path, lists, header):
    assert labels(AffectNet(full(tmp_path, [0, 6], [7, 1], lists=lists, header=header))) == [
        "Neutral",
        "Anger",
        "Contempt",
        "Happy",
    ]


def test_columns_are_found_by_name(tmp_path):
    full(tmp_path, [0, 1], [2, 3])
    write(tmp_path / LISTS / "training.csv", "\ufeffexpression,subDirectory_filePath\n6,10/1.jpg\n5.0,10/0.jpg\n")
    data = AffectNet(str(tmp_path), crop=False)
    assert labels(data) == ["Anger", "Disgust", "Sad", "Surprise"]
    assert greys(data)[:2] == [1, 0]


def test_without_box_columns_faces_cannot_be_cut_out(tmp_path):
    full(tmp_path, [0, 1], [2, 3])
    write(tmp_path / LISTS / "training.csv", "expression,subDirectory_filePath\n6,10/1.jpg\n5,10/0.jpg\n")
    line = next(iter(AffectNet(str(tmp_path)).problems()))
    assert line.startswith(f"{tmp_path / LISTS / 'training.csv'}:1: no column face_x, face_y, face_width, face_height")
    assert "crop=false" in line
    with pytest.raises(DataError, match=r"training.csv:1: no column face_x"):
        AffectNet(str(tmp_path)).table()


@pytest.mark.parametrize("box", ["NULL,NULL,NULL,NULL", "0,0,0,0", "5,5,-3,4", "-9,0,9,9", "1e999,0,9,9", ",,,"])
def test_a_frame_with_an_unusable_box_has_no_image_and_is_named(tmp_path, box):
    full(tmp_path, [0, 1], [2, 3])
    lines = [HEADER, *table([0], "10", "0,0,4,4"), *table([0, 6], "10", box)[1:]]
    write(tmp_path / LISTS / "training.csv", "\n".join(lines))
    data = AffectNet(str(tmp_path))
    assert [image is None for image in data.images(np.arange(2))] == [False, True]
    assert data.has_image().tolist()[:2] == [True, False]
    (line,) = [problem for problem in data.problems() if "training.csv" in problem]
    assert line.startswith(f"{tmp_path / LISTS / 'training.csv'}:3: ")
    assert "10/1.jpg has no usable face box" in line
    assert AffectNet(str(tmp_path), crop=False).has_image().all()


def test_a_box_outside_of_the_photo_is_no_image(tmp_path):
    full(tmp_path, [0, 1], [2, 3])
    write(tmp_path / LISTS / "training.csv", "\n".join([HEADER, *table([0, 6], "10", "400,400,50,50")]))
    data = AffectNet(str(tmp_path))
    assert data.images(np.arange(2)) == [None, None]
    assert f"{tmp_path / LISTS / 'training.csv'}:2" in data.where(0)


def test_seven_classes_leave_contempt_out_and_count_it(tmp_path):
    data = AffectNet(full(tmp_path, range(8), [7, 0]), classes=7)
    assert data.classes == tuple(NAMES[:7])
    assert labels(data) == [*NAMES[:7], "Neutral"]
    assert data.dropped == {"Contempt": 2}
    mapped = AffectNet(str(tmp_path), classes=7, class_map="abaw")
    assert mapped.classes == ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger")


def test_contempt_is_other_among_the_abaw_names(tmp_path):
    assert labels(AffectNet(full(tmp_path, [7, 1, 2], [6]), class_map="abaw")) == [
        "Other",
        "Happiness",
        "Sadness",
        "Anger",
    ]


def test_the_face_is_cut_out_by_its_box(tmp_path):
    pixels = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)
    full(tmp_path, [0, 1, 2, 3], [0])
    boxes = ["5,10,20,15", "50,30,100,100", "NULL,NULL,NULL,NULL", "500,500,9,9"]
    lines = [table([0, 1, 2, 3], "10", box)[i] for i, box in enumerate(boxes)]
    write(tmp_path / LISTS / "training.csv", "\n".join([HEADER, *lines]))
    for i in range(4):
        write(tmp_path / f"Manually_Annotated_Images/10/{i}.jpg", cv2.imencode(".png", pixels)[1].tobytes())
    images = AffectNet(str(tmp_path)).images(np.arange(4))
    for found, grey in zip(images[:2], [pixels[10:25, 5:25], pixels[30:, 50:]], strict=True):
        np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))
    assert images[2:] == [None, None]
    whole = AffectNet(str(tmp_path), crop=False)
    assert [each.shape for each in whole.images(np.arange(4))] == [(40, 60, 3)] * 4
    assert whole.fingerprint() != AffectNet(str(tmp_path)).fingerprint()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10/9.jpg,0,0,0,0,,11,0,0", "expression '11' must be 0 to 10"),
        ("10/9.jpg,0,0,0,0,,-1,0,0", "expression '-1' must be 0 to 10"),
        ("10/9.jpg,0,0,0,0,,nan,0,0", "expression 'nan' must be 0 to 10"),
        ("10/9.jpg,0,0,0,0,,,0,0", "expression '' must be 0 to 10"),
        ("10/9.jpg,0,0", "expected 9 fields, found 3"),
    ],
)
def test_a_bad_line_of_a_csv_is_named(tmp_path, line, message):
    full(tmp_path, [0, 1], [2, 3])
    write(tmp_path / LISTS / "training.csv", "\n".join([HEADER, *table([0, 1], "10"), line]))
    data = AffectNet(str(tmp_path))
    with pytest.raises(DataError) as caught:
        data.table()
    assert str(caught.value).endswith(f"training.csv:4: {message}")
    assert list(data.problems()) == [f"{tmp_path / LISTS / 'training.csv'}:4: {message}"]


def test_a_csv_without_the_column_is_refused(tmp_path):
    full(tmp_path, [0, 1], [2], header=HEADER.replace("expression", "emotion"))
    with pytest.raises(DataError, match=r"training.csv:1: no column expression"):
        AffectNet(str(tmp_path))


def test_a_lone_csv_is_refused(tmp_path):
    full(tmp_path, [0], [1])
    (tmp_path / LISTS / "validation.csv").unlink()
    with pytest.raises(DataError, match=r"has .*training.csv but .* val"):
        AffectNet(str(tmp_path))


def small(root: Path, train: dict[str, object], val: dict[str, object]) -> str:
    for folder, saved in (("train_set", train), ("val_set", val)):
        for name, expression in saved.items():
            image(root / folder / "images" / f"{name}.jpg", int(name))
            for ending, value in (("exp", expression), ("val", np.array("0.25")), ("aro", np.float64(-2))):
                file = io.BytesIO()
                np.save(file, value)
                write(root / folder / "annotations" / f"{name}_{ending}.npy", file.getvalue())
    return str(root)


def test_the_small_edition_is_read_whatever_type_its_numbers_are_saved_as(tmp_path):
    train = {"0": np.array("1"), "10": np.int64(7), "2": np.array([3], np.uint8), "5": "8"}
    data = AffectNet(small(tmp_path, train, {"1": np.array(6.0)}))
    assert data.frames.clip.tolist() == ["train/0", "train/2", "train/10", "val/1"]
    assert labels(data) == ["Happy", "Surprise", "Contempt", "Anger"]
    assert greys(data) == [0, 2, 10, 1]
    assert data.dropped == {"None": 1}


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00"])
def test_an_annotation_that_is_no_number_is_named(tmp_path, content):
    small(tmp_path, {"0": "1", "1": "2"}, {"1": "3"})
    write(tmp_path / "train_set/annotations/1_exp.npy", content)
    data = AffectNet(str(tmp_path))
    with pytest.raises(DataError, match=r"1_exp.npy: expected one number from 0 to 10"):
        data.table()
    assert len(list(data.problems())) == 1


def test_pickled_annotations_are_never_loaded(tmp_path):
    small(tmp_path, {"0": "1", "1": "2"}, {"1": "3"})
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    write(tmp_path / "train_set/annotations/1_exp.npy", file.getvalue())
    with pytest.raises(DataError, match="pickled objects"):
        AffectNet(str(tmp_path)).table()


def listed(root: Path, form: str = "{}_annotations_8class.txt") -> str:
    for split, lines in (("train", ["a b.jpg 0", "2.jpg 7", "3.jpg 8"]), ("valid", ["1.jpg 6"])):
        write(root / f"{split}_set" / form.format(split), "\n".join(lines))
        for line in lines:
            image(root / f"{split}_set" / "images" / line.rpartition(" ")[0], int(line[-1]))
    return str(root)


@pytest.mark.parametrize("form", ["{}_annotations_8class.txt", "{}_annotations.txt"])
def test_text_lists_name_images_beside_them(tmp_path, form):
    data = AffectNet(listed(tmp_path, form))
    assert labels(data) == ["Neutral", "Contempt", "Anger"]
    assert greys(data) == [0, 7, 6]
    assert data.frames.split.tolist() == ["train", "train", "val"]
    assert data.dropped == {"None": 1}


def test_a_list_goes_before_the_small_edition_that_it_was_made_from(tmp_path):
    small(tmp_path, {"2": "0", "3": "1"}, {})
    image(tmp_path / "val_set/images/1.jpg", 1)
    small(tmp_path, {}, {"1": "5"})
    listed(tmp_path)
    assert labels(AffectNet(str(tmp_path))) == ["Neutral", "Contempt", "Anger"]
    assert labels(AffectNet(str(tmp_path), layout="npy")) == ["Neutral", "Happy", "Disgust"]
    with pytest.raises(DataError, match="does not have layout csv"):
        AffectNet(str(tmp_path), layout="csv")


def test_numbered_and_named_folders_are_read_and_numbers_above_7_are_counted(tmp_path):
    for index in ("train/0", "train/7", "train/9", "train/happy", "val/Contempt", "val/6"):
        image(tmp_path / index / "x.jpg", 1)
    data = AffectNet(str(tmp_path))
    assert sorted(labels(data)) == ["Anger", "Contempt", "Contempt", "Happy", "Neutral"]
    assert data.dropped == {"Uncertain": 1}
    seven = AffectNet(str(tmp_path), classes=7)
    assert sorted(labels(seven)) == ["Anger", "Happy", "Neutral"]
    assert seven.dropped == {"Uncertain": 1, "Contempt": 2}


def test_val_is_tested(tmp_path):
    data = AffectNet(full(tmp_path, [i % 8 for i in range(80)], list(range(8))))
    folds, _ = divided(Spec("official"), data.table(), data.classes)
    assert set(data.frames.split[folds[0].rows("test")]) == {"val"}
    assert len(folds[0].rows("test")) == 8
    assert len(folds[0].rows("dev")) == 16


def test_a_class_that_is_not_there_cannot_be_mapped(tmp_path):
    with pytest.raises(ConfigError, match="unknown class 'Contempt'"):
        AffectNet(full(tmp_path, [0], [1]), classes=7, class_map={"Contempt": "Anger"})


fields = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["subDirectory_filePath", "expression", "3"]
)


@given(st.lists(st.lists(fields, min_size=1, max_size=10), max_size=5) | st.binary(max_size=80))
def test_whatever_the_csv_holds_only_a_data_error_comes_out(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("affect")
    full(root, [0], [1])
    if not isinstance(content, bytes):
        text = io.StringIO()
        csv.writer(text).writerows(content)
        content = text.getvalue().encode()
    write(root / LISTS / "training.csv", content)
    try:
        data = AffectNet(str(root))
        list(data.problems())
        table = data.table()
    except DataError:
        return
    assert np.isin(table.label, range(8)).all()


def saved(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array("5"), "5"),
        (np.array(b"5"), "5"),
        (np.str_("10"), "10"),
        (np.int64(3), "3"),
        (np.array([7], np.uint8), "7"),
        (np.array([[2.0]], ">f4"), "2.0"),
        (np.asfortranarray([[4]]), "4"),
    ],
)
def test_npy_scalar_gives_the_value_that_numpy_loads(value, text):
    data = saved(value)
    assert npy_scalar(data) == text
    loaded = np.load(io.BytesIO(data)).reshape(-1)[0]
    assert npy_scalar(data) == (loaded.decode() if isinstance(loaded, bytes) else str(loaded))


def test_npy_scalar_reads_newer_versions_of_the_format():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array("6"), version=(2, 0))
    assert npy_scalar(file.getvalue()) == "6"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        saved(np.array([1, 2])),
        saved(np.array([], int)),
        saved(np.array(["a", None], object), allow_pickle=True),
        saved(np.array(5))[:-3],
    ],
    ids=["empty", "cut header", "two", "none", "pickle", "cut"],
)
def test_npy_scalar_refuses_anything_else(data):
    with pytest.raises(ValueError, match=r"."):
        npy_scalar(data)


@given(st.binary(max_size=100), st.integers(0, 140))
def test_npy_scalar_raises_only_value_errors(junk, kept):
    for data in (junk, saved(np.array("5"))[:kept] + junk):
        with contextlib.suppress(ValueError):
            npy_scalar(data)


def test_valence_and_arousal_of_a_csv_are_those_of_its_lines(tmp_path):
    pairs = [("0.5", "-1"), ("-2", "-2"), ("-2", "0.125"), ("0.9", "0.9"), ("-1.0", "1")]
    expressions = [3, 0, 7, 8, 1]  # the fourth is no expression
    rows = [f"10/{i}.jpg,0,0,9,9,1;2,{e},{v},{a}" for i, (e, (v, a)) in enumerate(zip(expressions, pairs, strict=True))]
    root = full(tmp_path, expressions, [2])
    write(tmp_path / LISTS / "training.csv", "\n".join([HEADER, *rows]))
    found = AffectNet(root).task_labels("valence-arousal")
    assert found.names == ("valence", "arousal")
    nan = np.nan
    np.testing.assert_array_equal(found.values, np.float32([(0.5, -1), (nan, nan), (nan, 0.125), (-1, 1), (0.1, nan)]))


@pytest.mark.parametrize(("valence", "shown"), [("1.5", "'1.5'"), ("", "''"), ("nan", "'nan'"), ("-3", "'-3'")])
def test_a_wrong_valence_is_named_and_does_not_stop_expressions(tmp_path, valence, shown):
    root = full(tmp_path, [3, 4], [2])
    write(tmp_path / LISTS / "training.csv", f"{HEADER}\n10/0.jpg,0,0,9,9,1,3,0,0\n10/1.jpg,0,0,9,9,1,4,{valence},0\n")
    data = AffectNet(root)
    line = f"{tmp_path / LISTS / 'training.csv'}:3: valence {shown} must be -1 to 1, or -2 if it is unknown"
    assert labels(data) == ["Surprise", "Fear", "Sad"]
    assert line in list(data.problems())
    with pytest.raises(DataError) as caught:
        data.task_labels("valence-arousal")
    assert line in str(caught.value)


def test_a_csv_without_the_columns_has_no_valence_and_arousal(tmp_path):
    root = full(tmp_path, [3], [2])
    for name, folder in (("training", "10"), ("validation", "7")):
        write(tmp_path / LISTS / f"{name}.csv", f"subDirectory_filePath,expression,valence\n{folder}/0.jpg,1,0.5\n")
    assert AffectNet(root, crop=False).task_labels("valence-arousal") is None


def test_valence_and_arousal_of_the_small_edition_lie_beside_the_expression(tmp_path):
    root = small(tmp_path, {"0": "1", "10": "8", "2": "3"}, {"1": "6"})
    folder = tmp_path / "train_set/annotations"
    np.save(folder / "2_aro.npy", np.array([-0.5]))
    found = AffectNet(root).task_labels("valence-arousal")
    np.testing.assert_array_equal(found.values, np.float32([(0.25, np.nan), (0.25, -0.5), (0.25, np.nan)]))
    (folder / "0_val.npy").unlink()
    with pytest.raises(DataError, match=r"0_val.npy: valence '' must be -1 to 1"):
        AffectNet(root).task_labels("valence-arousal")
    for path in tmp_path.rglob("*_[va]*.npy"):
        path.unlink()
    assert AffectNet(root).task_labels("valence-arousal") is None
