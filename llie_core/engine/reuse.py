"""What a result depends on, derived from the objects that make it.

    train hash = identity and code of model, objective, data, validation; settings; seed
    eval hash  = weights; identity and code of model, data, task

`identity` describes the objects' values, `code` the llie_core modules they come from. Both walk
what an object holds, wraps and calls, so there is no list of modules to maintain.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType

import numpy as np
import torch
from torch import nn

from llie_core.files import results_dir
from llie_core.hashing import content_hash, file_digest, file_hash, remember, remembered
from llie_core.plugins import roots

PACKAGE = __name__.partition(".")[0]
# Rooms whose code decides numbers; imports into the others (records, reports, commands) are not
# followed. tests/test_project.py holds the directions of imports between the rooms.
DECIDING = ("models", "recognizers", "losses", "metrics", "data", "synthetic", "tasks", "imaging")
PLAIN = (type(None), bool, int, float, str, bytes, PurePath, np.generic, torch.dtype, torch.device)
ARRAYS = (torch.Tensor, np.ndarray)
VALUES = (*PLAIN, *ARRAYS)
PARSED_KEPT = 4000  # modules and their versions, then begun anew: some 2 MB


# Values ----------------------------------------------------------------------------------------


def identity(value: object, _holders: tuple[int, ...] = ()) -> object:
    """A JSON-able description of all values that an object holds, equal for equal objects.

    A data set is what its `describe()` says. A network is its class, its plain attributes and,
    where it is frozen, its weights; the start of one that is to be trained follows from its seed.
    Left out are settings declared `free` (engine/settings.py) and private attributes, which hold
    what follows from the others, such as a memory of items read.
    """
    if isinstance(value, PLAIN):
        return str(value) if isinstance(value, PurePath | torch.dtype | torch.device) else value
    if isinstance(value, ARRAYS):
        return _digest(value)
    if isinstance(value, type | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, nn.Module):
        return {_name(value): _network(value)}
    if id(value) in _holders:
        return "an object that holds this one"
    holders = (*_holders, id(value))
    if isinstance(value, Mapping):
        return {str(key): identity(one, holders) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [identity(one, holders) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((identity(one, holders) for one in value), key=str)
    return {_name(value): identity(_values(value), holders)}


def _values(value: object) -> object:
    """What an object is made of, as plain containers."""
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        return [value.__self__]
    if isinstance(value, FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or ()]
    if isinstance(value, Enum):
        return value.name
    if describe := getattr(value, "describe", None):
        return describe()
    if is_dataclass(value):
        decided = [own.name for own in fields(value) if not own.metadata.get("free")]
        return {name: getattr(value, name) for name in decided}
    held = getattr(value, "__dict__", {})
    return {key: one for key, one in held.items() if not key.startswith("_")}


def _network(model: nn.Module) -> dict:
    """Class and plain attributes of every submodule, and the frozen weights."""
    parts = {}
    for name, module in model.named_modules():
        plain = {
            key: identity(value)
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "training" and _is_plain(value)
        }
        parts[name] = [f"{type(module).__module__}.{type(module).__qualname__}", plain]
    names = _frozen_names(model)
    frozen = {key: _digest(value) for key, value in model.state_dict().items() if key in names}
    return {"modules": content_hash(parts), "frozen": content_hash(frozen) if frozen else ""}


def _frozen_names(model: nn.Module) -> set[str]:
    """Names of the tensors of all submodules that hold parameters and train none of them."""
    names = set()
    for prefix, module in model.named_modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            names |= {f"{prefix}.{key}".lstrip(".") for key in module.state_dict()}
    return names


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(one) for one in value)
    return isinstance(value, PLAIN)


def _digest(value: torch.Tensor | np.ndarray) -> str:
    array = value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else value
    shape, kind = tuple(array.shape), str(array.dtype)
    flat = array.reshape(-1).view(torch.uint8).numpy() if isinstance(array, torch.Tensor) else array
    digest = hashlib.sha256(np.ascontiguousarray(flat).tobytes()).hexdigest()
    return f"{kind}{shape}{digest[:16]}"


def _name(value: object) -> str:
    owner = value if isinstance(value, FunctionType | MethodType) else type(value)
    return f"{owner.__module__}.{owner.__qualname__}"


# Code ------------------------------------------------------------------------------------------

_unkept: set[str] = set()  # contents that were parsed and are not in the memory yet


def code(*objects: object, modules: Iterable[str] = ()) -> str:
    """Hash of the syntax trees of every module of llie_core or of a plug-in behind some objects,
    and of `modules` by name.

    Behind objects are the modules of their classes and functions, of all that these hold and wrap,
    and the modules of deciding rooms, or of the plug-in, that they import. Comments, docstrings and
    layout are free.
    """
    return content_hash(_trees({*modules_behind(*objects), *modules}))


def trees(*objects: object) -> dict[str, str]:
    """Module → hash of its syntax tree, of every module behind some objects; for records."""
    return _trees(modules_behind(*objects))


def _trees(modules: Iterable[str]) -> dict[str, str]:
    found = {name: module_tree(name)[:8] for name in modules}
    _keep_parsed()
    return found


def changed_since(record: Mapping[str, str]) -> list[str]:
    """The modules of such a record that are other ones now, or gone."""
    return [name for name, tree in record.items() if not (_is_module(name) and
            module_tree(name)[:8] == tree)]  # fmt: skip


def modules_behind(*objects: object) -> list[str]:
    """The modules of llie_core and of plug-ins that decide what these objects compute, sorted."""
    pending = [name for name in _modules_of(objects) if _is_own(name)]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += [imported for imported in _imports(name) if _decides(imported)]
    # A room's own file only passes names on, or finds classes whose objects are walked anyway.
    return sorted(name for name in seen if _of_plugin(name) or "__init__.py" not in _file(name))


def _is_own(name: str) -> bool:
    return name.startswith(f"{PACKAGE}.") or _of_plugin(name)


def _of_plugin(name: str) -> bool:
    return name.partition(".")[0] in roots()


def _decides(name: str) -> bool:
    return _of_plugin(name) or name.split(".")[1] in DECIDING


def _modules_of(value: object) -> set[str]:
    """Modules of the classes and functions of everything that is held, each object once."""
    found: set[str] = set()
    seen, pending = {}, [value]
    while pending:
        one = pending.pop()
        if isinstance(one, VALUES) or id(one) in seen:
            continue
        seen[id(one)] = one
        found.update(_own_modules(one))
        pending.extend(_held(one))
    return found


def _own_modules(value: object) -> Iterator[str]:
    if isinstance(value, FunctionType | MethodType):
        yield value.__module__
        return
    for cls in (value if isinstance(value, type) else type(value)).__mro__:
        yield cls.__module__


def _held(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        return [value.__self__]
    if isinstance(value, FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or ()]
    if isinstance(value, type):
        return ()
    return getattr(value, "__dict__", {}).values()


@cache
def module_tree(name: str) -> str:
    """Hash of a module's syntax tree without docstrings; the same in every version of Python."""
    return _parsed(name)[0]


@cache
def _parsed(name: str) -> tuple[str, tuple[str, ...]]:
    """Hash of a module's syntax tree, and all names that it imports, wherever in it; parsed once a
    content, which results/hashes/ keeps."""
    source, own = _file(name), file_hash(Path(__file__))
    package = name if source.endswith("__init__.py") else name.rpartition(".")[0]
    content = content_hash([own, package, file_digest(Path(source))])
    if content not in _known():
        _known()[content] = _parse(Path(source), package)
        _unkept.add(content)
    tree, imported = _known()[content]
    return tree, tuple(imported)


def _parse(source: Path, package: str) -> list:
    tree, imported = ast.parse(source.read_text(encoding="utf-8")), []
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body[:] = body[1:] or [ast.Pass()]
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            imported += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [hashlib.sha256(dump(tree).encode()).hexdigest(), imported]


def _memory() -> Path:
    return results_dir() / "hashes" / "code.json"


@cache
def _known() -> dict[str, list]:
    """Content of a module → what `_parse` found in it."""
    return remembered(_memory())


def _keep_parsed() -> None:
    if _unkept:
        fresh = {content: _known()[content] for content in _unkept}
        before = remembered(_memory())
        remember(_memory(), (before if len(before) < PARSED_KEPT else {}) | fresh)
        _unkept.clear()


def dump(node: object) -> str:
    """As ast.dump, but without empty fields: versions of Python differ in which ones there are."""
    if isinstance(node, ast.AST):
        inner = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(f'{n}={dump(v)}' for n, v in inner)})"
    if isinstance(node, list):
        return f"[{','.join(map(dump, node))}]"
    return repr(node)


@cache
def _imports(name: str) -> tuple[str, ...]:
    """The modules of llie_core and of plug-ins that a module imports, wherever in it."""
    return tuple(x for x in _parsed(name)[1] if _is_own(x) and _is_module(x))


@cache
def _file(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {name!r} to hash")
    return spec.origin


@cache
def _is_module(name: str) -> bool:
    """True for `package.module`, False for `module.function` and for what is not Python."""
    try:
        spec = importlib.util.find_spec(name)
        return spec is not None and str(spec.origin).endswith(".py")
    except ModuleNotFoundError:  # its parent is no package
        return False


def forget_sources() -> None:
    """Read the modules' files again: for tests that edit them."""
    _unkept.clear()
    for cached in (module_tree, _parsed, _known, _imports, _file, _is_module):
        cached.cache_clear()


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
