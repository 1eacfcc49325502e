"""Errors: every problem is kept, the hint follows the message, and pickling keeps everything."""

import pickle
import signal
import threading

import pytest

from fusionkit.errors import (
    CellError,
    ConfigError,
    DataError,
    FusionKitError,
    PluginError,
    cause_of,
    component_errors,
    interrupted,
    is_interrupted,
    shortened,
    watched_interrupts,
)


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


def test_a_long_text_is_cut_and_the_rest_counted() -> None:
    assert shortened("x" * 2_000) == "x" * 2_000
    assert shortened("x" * 2_000 + "y" * 12_345) == "x" * 2_000 + " ... (12,345 more characters in the traceback)"
    assert cause_of(ValueError("z" * 1_003)) == f"ValueError: {'z' * 1_000} ... (3 more characters in the traceback)"


def test_a_message_that_cannot_be_read_is_named() -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise KeyError("me")

    assert cause_of(Mute()) == "Mute: (its message cannot be read: KeyError)"


ERRORS, ALL = (Exception, SystemExit), (BaseException,)


def test_an_interrupt_is_a_components_unless_a_signal_came() -> None:
    assert component_errors() == ERRORS
    with watched_interrupts():
        assert component_errors() == ALL
        with pytest.raises(KeyboardInterrupt), watched_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert is_interrupted()
        assert component_errors() == (Exception,)
    assert not is_interrupted()
    assert component_errors() == ERRORS
    with watched_interrupts():
        assert component_errors() == ALL
        interrupted()
        assert component_errors() == (Exception,)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, lambda *_: None], ids=["ignore", "default", "own"])
def test_the_handler_of_the_program_stays(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with watched_interrupts():
            if handler != signal.SIG_DFL:  # which ends the process
                signal.raise_signal(signal.SIGINT)
            assert component_errors() == ALL, "no exception was raised"
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_a_component_sets_gives_interrupts_to_the_user() -> None:
    before = signal.getsignal(signal.SIGINT)
    with watched_interrupts():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert component_errors() == ERRORS
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_signals_alone() -> None:
    found: list[object] = []

    @watched_interrupts()
    def work() -> None:
        found.append(component_errors())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [ERRORS]
