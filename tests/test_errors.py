"""Errors: every problem is kept, the hint follows the message, and pickling keeps everything."""

import pickle

import pytest

from fusionkit.errors import CellError, ConfigError, DataError, FusionKitError, PluginError, cause_of


@pytest.mark.parametrize("kind", [ConfigError, PluginError, DataError, CellError])
def test_the_hint_follows_the_message_in_brackets(kind: type[FusionKitError]) -> None:
    assert isinstance(kind("x"), FusionKitError)
    assert str(kind("the width is 3", hint="an even number")) == "the width is 3 (an even number)"
    assert str(kind("the width is 3")) == "the width is 3"


def test_a_config_error_keeps_its_problems_apart_and_in_order() -> None:
    error = ConfigError(problem for problem in ("first", "second"))
    assert error.problems == ["first", "second"]
    assert str(error) == "first\nsecond"
    assert ConfigError("a lone one").problems == ["a lone one"]


@pytest.mark.parametrize("error", [ConfigError(["a", "b"], hint="c"), PluginError("d", hint="e"), CellError("f")])
def test_an_error_survives_pickling_whole(error: FusionKitError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), back.hint, vars(back)) == (str(error), error.hint, vars(error))


def test_an_error_of_other_code_is_put_on_one_line() -> None:
    assert cause_of(ValueError("two\n   lines")) == "ValueError: two lines"
    assert cause_of(KeyError("a")) == "KeyError: 'a'"
    assert cause_of(NotImplementedError()) == "NotImplementedError"
