"""What a hash covers: values and code of everything that the objects hold, wrap and call."""

import ast
import functools
import sys

import numpy as np
import pytest
import torch
from torch import nn

from llie_core.engine import reuse
from llie_core.engine.reuse import code, identity, modules_behind
from llie_core.hashing import content_hash


class Held:
    def __init__(self, **values):
        vars(self).update(values)


def closure(value):
    return lambda: value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        ("a", "b"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.ones(2)),
        (np.zeros(2, np.float32), np.zeros(2, np.float64)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (functools.partial(max, 1), functools.partial(min, 1)),
        (closure(1), closure(2)),
        (Held(a=1), Held(a=2)),
        (Held(a=Held(b=1)), Held(a=Held(b=2))),
        (nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3)),
        (Held(a=1).__init__, Held(a=2).__init__),
    ],
    ids=range(14),
)
def test_different_values_have_different_identities(one, other):
    assert content_hash(identity(one)) == content_hash(identity(one))
    assert content_hash(identity(one)) != content_hash(identity(other))


def test_private_attributes_and_the_start_of_a_network_do_not_count():
    assert identity(Held(a=1, _memory=[1])) == identity(Held(a=1, _memory=[2]))
    assert identity(nn.Linear(2, 2)) == identity(nn.Linear(2, 2))


def test_frozen_weights_count_wherever_they_are_held():
    def frozen(seed):
        torch.manual_seed(seed)
        return nn.Linear(2, 2).requires_grad_(False)

    assert identity(Held(reader=frozen(0))) == identity(Held(reader=frozen(0)))
    assert identity(Held(reader=frozen(0))) != identity(Held(reader=frozen(1)))
    # A part of a network that is trained, such as DRGN's generator in the second stage.
    part = [nn.Sequential(frozen(seed), nn.Linear(2, 2)) for seed in (0, 1)]
    assert identity(part[0]) != identity(part[1])


def test_a_data_set_is_what_it_describes():
    class Described:
        def __init__(self, name, other):
            self.name, self.other = name, other

        def describe(self):
            return {"name": self.name}

    assert identity(Described("a", 1)) == identity(Described("a", 2))
    assert identity(Described("a", 1)) != identity(Described("b", 1))


# Code -------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """write(module, text): a module of a package that stands for llie_core."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(reuse, "PACKAGE", "toy_core")
    for folder in ("", "models", "losses", "reporting"):
        (tmp_path / "toy_core" / folder).mkdir(exist_ok=True)
        (tmp_path / "toy_core" / folder / "__init__.py").write_text("")

    def write(module, text):
        (tmp_path / "toy_core" / f"{module.replace('.', '/')}.py").write_text(text)
        reuse.forget_sources()

    yield write
    for name in [name for name in sys.modules if name.startswith("toy_core")]:
        del sys.modules[name]
    reuse.forget_sources()


def toy(module):
    return __import__(f"toy_core.{module}", fromlist=["x"])


def test_held_wrapped_and_called_modules_count(package):
    package(
        "losses.l1", "from toy_core.losses.base import half\ndef loss(x):\n    return half(x)\n"
    )
    package("losses.base", "def half(x):\n    return x / 2\n")
    package("models.net", "class Net:\n    pass\n")
    held = Held(model=toy("models.net").Net(), loss=functools.partial(toy("losses.l1").loss, 1))
    assert modules_behind([held]) == [
        "toy_core.losses.base", "toy_core.losses.l1", "toy_core.models.net",
    ]  # fmt: skip
    before = code(held)
    for module in ("losses.base", "losses.l1", "models.net"):
        package(module, f"changed = '{module}'\n")
        assert code(held) != before, module
        before = code(held)


def test_how_batches_are_made_counts():
    from llie_core.data import collate

    assert modules_behind(collate) == ["llie_core.data.batches"]


def test_records_and_reports_do_not_count(package):
    package("losses.l1", "from toy_core.reporting import plot\ndef loss(x):\n    return x\n")
    package("reporting.plot", "colour = 'red'\n")
    assert modules_behind(toy("losses.l1").loss) == ["toy_core.losses.l1"]


def test_base_classes_count(package):
    package("models.base", "class Base:\n    pass\n")
    package("models.net", "from toy_core.models.base import Base\nclass Net(Base):\n    pass\n")
    assert "toy_core.models.base" in modules_behind(toy("models.net").Net())


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1\n', True),
        ("def f(x):  # why\n\n    return (x +\n            1)\n", True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x):\n    return None\n", False),
    ],
)
def test_layout_comments_and_docstrings_are_free(package, text, same):
    package("losses.l1", "def f(x):\n    return x + 1\n")
    f = toy("losses.l1").f
    before = code(f)
    package("losses.l1", text)
    assert (code(f) == before) is same


def test_a_module_is_parsed_once_a_content(package, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    package("losses.l1", "def f(x):\n    return x + 1\n")
    f, first = toy("losses.l1").f, None
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(text) or parse(text))
    for text in ("x + 1", "x + 2", "x + 1"):
        package("losses.l1", f"def f(x):\n    return {text}\n")
        first = first or code(f)
        assert (code(f) == first) is (text == "x + 1")
    assert len(parsed) == 2
    memory = tmp_path / "results" / "hashes" / "code.json"
    memory.write_text(memory.read_text().replace('"found"', '"lost"'))
    reuse.forget_sources()
    assert code(f) == first
    assert len(parsed) == 3


def test_a_syntax_tree_reads_alike_in_every_version_of_python():
    """`ast.dump` of Python 3.12 has empty fields (type_params) that 3.11 has not."""
    tree = ast.parse("def f(x):\n    return x + 1\n")
    assert reuse.dump(tree) == (
        "Module(body=[FunctionDef(name='f',args=arguments(args=[arg(arg='x')]),body=[Return("
        "value=BinOp(left=Name(id='x',ctx=Load()),op=Add(),right=Constant(value=1)))])])"
    )
