"""Installed versions are compared with the bounds in the metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from fusionkit.doctor import environment as module
from fusionkit.doctor.environment import Finding


def found(monkeypatch: pytest.MonkeyPatch, *requirements: str) -> dict[str, Finding]:
    monkeypatch.setattr(module, "requires", lambda _: list(requirements))
    return {finding.name: finding for finding in module.versions()}


def test_each_requirement_is_listed_with_the_version_that_is_installed() -> None:
    listed = {finding.name: finding for finding in module.versions()}
    assert listed["torch"] == Finding("versions", "torch", version("torch"))
    assert listed["python"].state == "ok"
    assert "extra parquet" in listed
    assert not {"pytest", "mypy", "extra test", "extra dev"} & listed.keys()


def test_a_missing_requirement_is_broken_and_an_old_one_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = found(monkeypatch, "numpy>=99", "not-a-package>=1.5", "scipy")
    assert listed["numpy"].state == "warning"
    assert "pip install -U 'numpy>=99'" in listed["numpy"].advice
    assert listed["not-a-package"].state == "broken"
    assert listed["not-a-package"].advice == "pip install 'not-a-package>=1.5'"
    assert listed["scipy"].state == "ok"


def test_requirements_of_other_systems_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not-a-package" not in found(monkeypatch, "not-a-package; sys_platform == 'amiga'")


def test_a_missing_extra_is_absent_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = found(monkeypatch, "not-a-package>=2; extra == 'ray'", "numpy; extra == 'parquet'")
    assert listed["extra ray"].state == "absent"
    assert "pip install 'fusionkit[ray]'" in listed["extra ray"].advice
    assert listed["extra parquet"].value == f"numpy {version('numpy')}"


@pytest.mark.parametrize(
    ("there", "state", "value"),
    [
        ({"opencv-python-headless": "4.13"}, "ok", "4.13 (opencv-python-headless)"),
        ({"opencv-python": "4.13", "opencv-contrib-python": "4.12"}, "warning", "4.13, 4.12 (opencv-contrib-python)"),
    ],
)
def test_one_distribution_of_opencv_is_enough_and_two_conflict(
    there: dict[str, str], state: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(module, "version", installed)
    finding = found(monkeypatch, "opencv-python>=4.10")["opencv-python"]
    assert (finding.state, finding.value) == (state, value)


def test_a_checkout_that_is_not_installed_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "metadata", nothing)
    (finding,) = module.versions()
    assert finding.state == "broken"
    assert "pip install -e ." in finding.advice
