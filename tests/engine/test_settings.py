"""Settings: unknown keys and wrong types are refused by name; only safe conversions are made."""

from dataclasses import FrozenInstanceError, dataclass, field

import pytest
import yaml

from llie_core.engine.reuse import identity
from llie_core.engine.settings import Section, changes, free, override


@dataclass(frozen=True)
class Train(Section):
    lr: float = 1e-3
    steps: int = 10
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Example(Section):
    dataset: str = "builtin-faces"
    data: str = free("")
    augment: bool = False
    ratios: tuple[str, ...] = ("1:0", "2:1")
    files: dict[str, str] = field(default_factory=dict)
    train: Train = Train()
    recognizer: Train = Train(steps=3)

    renamed = {"turns": "augment"}


def make(**changes):
    return override(Example(), changes)


def test_changes_are_those_that_override_makes():
    assert changes(Example(), Example()) == {}
    changed = make(train={"lr": 2e-4}, ratios=["1:1"], files={"a": "b"}, data="d")
    found = changes(changed, Example())
    assert found == {"train.lr": 2e-4, "ratios": ("1:1",), "files": {"a": "b"}, "data": "d"}


def test_nested_changes_leave_the_rest():
    settings = make(train={"lr": 2e-4}, ratios=["1:1"], files={"a": "b"})
    assert settings == Example(ratios=("1:1",), files={"a": "b"}, train=Train(lr=2e-4))
    assert Example().train.lr == 1e-3
    assert make(train=Train(steps=5)).train.steps == 5


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        make().augment = True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ratio": ["2:1"]},
            r"unknown setting 'ratio'; did you mean 'ratios'\? \(known: d",
        ),
        ({"zzz": 1}, r"unknown setting 'zzz' \(known: dataset"),
        ({"train": {"rl": 1.0}}, r"unknown setting 'train\.rl'.* \(known: lr, steps, betas\)"),
        ({"lr": 1.0}, r"setting 'lr' is now train\.lr: write \{train: \{lr: …\}\}"),
        ({"recognizer_steps": 3}, r"is now recognizer\.steps: write \{recognizer: \{steps: …\}\}"),
        ({"turns": "all"}, r"setting 'turns' is now augment: write \{augment: …\}"),
    ],
)
def test_unknown_settings_are_named_with_what_is_meant(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_free_settings_decide_nothing():
    assert identity(make(data="/elsewhere")) == identity(make())
    assert identity(make(train={"steps": 11})) != identity(make())


def test_list_becomes_tuple():
    assert make(ratios=["1:1"]).ratios == ("1:1",)


def test_int_becomes_float_and_nothing_else_does():
    settings = make(train={"lr": 1, "betas": [0, 0.5]}).train
    assert settings.lr == 1.0 and type(settings.lr) is float
    assert settings.betas == (0.0, 0.5) and type(settings.betas[0]) is float
    with pytest.raises(TypeError, match=r"train\.steps: expected int, got 10\.0"):
        make(train={"steps": 10.0})


def test_exponent_without_point_is_a_string_in_yaml():
    value = yaml.safe_load("lr: 1e-3")["lr"]
    assert value == "1e-3"
    with pytest.raises(TypeError, match=r"train\.lr: expected float, got '1e-3' .*write 1\.0e-3"):
        make(train={"lr": value})
    assert make(train=yaml.safe_load("lr: 1.0e-3")).train.lr == 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"steps": True}}, r"train\.steps: expected int, got True"),
        ({"train": {"lr": None}}, r"train\.lr: expected float, got None"),
        ({"train": {"steps": "10"}}, r"train\.steps: expected int, got '10'"),
        ({"train": {"betas": [0.9]}}, r"train\.betas: expected 2 values, got \[0.9\]"),
        ({"train": 3}, r"train: expected settings such as \{KEY: VALUE\}, got 3"),
        ({"augment": 1}, "augment: expected bool, got 1"),
        ({"dataset": 3}, "dataset: expected str, got 3"),
        ({"ratios": "2:1"}, "ratios: expected a list, got '2:1'"),
        ({"ratios": ["2:1", 121]}, "ratios: expected str, got 121"),
        ({"files": ["a"]}, r"files: expected a mapping, got \['a'\]"),
        ({"files": {"a": 1}}, "files: expected str, got 1"),
    ],
)
def test_wrong_type(changes, message):
    with pytest.raises(TypeError, match=f"^{message}$"):  # no YAML hint where it would not help
        make(**changes)


def test_types_are_checked_without_override_too():
    with pytest.raises(TypeError, match="steps"):
        Train(steps=1.5)
