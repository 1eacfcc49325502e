"""``fusionkit doctor``."""

from __future__ import annotations

import json

import pytest
from command_line import call, output_of

from fusionkit import doctor
from fusionkit.doctor.environment import Finding

SOUND = Finding("versions", "python", "3.11")
BROKEN = Finding("folders", "cache", "[red]/nowhere[/]: cannot be written", "broken", "set FUSIONKIT_CACHE")


def test_this_machine_is_sound() -> None:
    text = output_of("doctor")
    assert "0 broken" in text
    for topic in ("versions", "machine", "folders", "plugins", "weights"):
        assert f"\n{topic}" in f"\n{text}"


def test_a_broken_finding_has_advice_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: iter([SOUND, BROKEN]))
    result = call("doctor")
    assert result.exit_code == 1
    assert "broken   cache  [red]/nowhere[/]: cannot be written" in result.output
    assert "-> set FUSIONKIT_CACHE" in result.output
    assert "1 broken, 0 warning(s), 1 ok" in result.output


def test_json_holds_every_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: iter([SOUND, BROKEN]))
    result = call("doctor", "--json")
    assert result.exit_code == 1
    assert [Finding(**item) for item in json.loads(result.stdout)] == [SOUND, BROKEN]
