"""Settings: unknown keys and wrong types are refused by name; only safe conversions are made."""

from dataclasses import FrozenInstanceError, dataclass

import pytest
import yaml

from llie_core.recipes.settings import Settings, make_settings


@dataclass(frozen=True)
class Example(Settings):
    lr: float = 1e-3
    steps: int = 10
    augment: bool = False
    ratios: tuple[str, ...] = ("1:0", "2:1")
    betas: tuple[float, float] = (0.9, 0.99)


PROFILES = {"smoke": Example("builtin-faces", "smoke"), "paper": Example("wider", "paper", lr=1e-4)}


def make(**overrides):
    return make_settings(PROFILES, "smoke", **overrides)


def test_profile_and_overrides():
    settings = make_settings(PROFILES, "paper", steps=3, seeds=[4, 5])
    assert settings == Example("wider", "paper", lr=1e-4, steps=3, seeds=(4, 5))
    assert PROFILES["paper"].steps == 10


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        make().steps = 4


def test_unknown_profile():
    with pytest.raises(ValueError, match=r"no profile 'Smoke' \(known: smoke, paper\)"):
        make_settings(PROFILES, "Smoke")


def test_unknown_key_with_suggestion():
    with pytest.raises(ValueError, match=r"unknown setting 'ratio'; did you mean 'ratios'\?") as e:
        make(ratio=["2:1"])
    assert "lr" in str(e.value) and "workers" in str(e.value)


def test_unknown_key_like_none_has_no_suggestion():
    with pytest.raises(ValueError, match=r"unknown setting 'zzz' \(known: dataset"):
        make(zzz=1)


def test_list_becomes_tuple():
    assert make(ratios=["1:1"]).ratios == ("1:1",)
    assert make(seeds=[0, 1, 2]).seeds == (0, 1, 2)


def test_int_becomes_float_and_nothing_else_does():
    settings = make(lr=1, betas=[0, 0.5])
    assert settings.lr == 1.0 and type(settings.lr) is float
    assert settings.betas == (0.0, 0.5) and type(settings.betas[0]) is float
    with pytest.raises(TypeError, match=r"steps: expected int, got 10\.0"):
        make(steps=10.0)


def test_exponent_without_point_is_a_string_in_yaml():
    value = yaml.safe_load("lr: 1e-3")["lr"]
    assert value == "1e-3"
    with pytest.raises(TypeError, match=r"lr: expected float, got '1e-3' .*YAML write 1\.0e-3"):
        make(lr=value)
    assert make(lr=yaml.safe_load("lr: 1.0e-3")["lr"]).lr == 1e-3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": True}, "steps: expected int, got True"),
        ({"lr": True}, "lr: expected float, got True"),
        ({"lr": None}, "lr: expected float, got None"),
        ({"steps": "10"}, "steps: expected int, got '10'"),
        ({"augment": 1}, "augment: expected bool, got 1"),
        ({"dataset": 3}, "dataset: expected str, got 3"),
        ({"seeds": 3}, "seeds: expected a list, got 3"),
        ({"seeds": "012"}, "seeds: expected a list, got '012'"),
        ({"seeds": [0, "1"]}, "seeds: expected int, got '1'"),
        ({"seeds": [False]}, "seeds: expected int, got False"),
        ({"ratios": "2:1"}, "ratios: expected a list, got '2:1'"),
        ({"ratios": ["2:1", 121]}, "ratios: expected str, got 121"),
        ({"betas": [0.9]}, r"betas: expected 2 values, got \[0.9\]"),
    ],
)
def test_wrong_type(overrides, message):
    with pytest.raises(TypeError, match=f"^{message}$"):  # no YAML hint where it would not help
        make(**overrides)


def test_types_are_checked_without_a_profile_too():
    with pytest.raises(TypeError, match="workers"):
        Settings("builtin-faces", "smoke", workers=1.5)


@pytest.mark.parametrize(("seeds", "message"), [([], "at least one"), ([1, 2, 1], "twice")])
def test_seeds_are_there_and_different(seeds, message):
    with pytest.raises(ValueError, match=f"seeds: .*{message}"):
        make(seeds=seeds)
