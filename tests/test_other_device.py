"""What a GPU would refuse, found without one: tensors of two devices in one operation; and where a
training step would wait for it.

Inside `Elsewhere` a tensor moved to `DEVICE` says that it lies there ("meta", so that the autograd
engine asks for no driver) and is computed on the CPU all the same. An operation that mixes it with
a CPU tensor raises, as CUDA does; values are those of the CPU, so code that branches on them runs.
`waits` lists where a GPU's queue would be waited for: .item(), .cpu(), nonzero, masks as indices,
constants copied from the CPU.
"""

import traceback
from collections import Counter

import pytest
import torch
from read_images import RECOGNIZERS
from seeded import seeded
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from llie_core import imaging
from llie_core.losses.colour import HUES, neid_loss
from llie_core.losses.degradation import DegradationObjective, RefinementObjective
from llie_core.losses.paired import jcrnet_loss, structural_similarity
from llie_core.losses.zero_reference import darkening_loss, upstream_loss
from llie_core.models import create_enhancer, list_darkeners, list_enhancers
from llie_core.models.drgn import Discriminators
from llie_core.recognizers import create_recognizer

DEVICE = torch.device("meta")
COPIES, PUTS = ("copy_", "_to_copy"), ("index_put", "index_put_", "_index_put_impl_")
WAITS = ("_local_scalar_dense", "equal", "masked_select", "nonzero", "_unique2", "unique_dim")


@pytest.fixture(autouse=True)
def constants_made_anew():
    """No constant of one place is left for another."""
    made_once = (imaging.made_constant, imaging.made_window)
    for function in made_once:
        function.cache_clear()
    yield
    for function in made_once:
        function.cache_clear()


class There(torch.Tensor):
    """A tensor that says it lies on DEVICE; `held` has its values."""

    @staticmethod
    def __new__(cls, held):
        place = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, device=DEVICE, **place
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError("used outside of Elsewhere")


class _Constants(TorchFunctionMode):
    """torch.tensor(…, device=DEVICE), x.new_tensor(…), x[[0, 2]]: else made without values."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(i) if isinstance(i, list) else i for i in index)
            return function(args[0], index, *args[2:])
        if function is torch.Tensor.new_tensor and isinstance(args[0], There):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        made = function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], There)
        if made and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            return function(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        return function(*args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """See the module. waits: a Counter of (operation, line of llie_core)."""

    def __init__(self):
        super().__init__()
        self.waits, self._constants = Counter(), _Constants()

    def __enter__(self):
        self._constants.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._constants.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), function._overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        there = [x for x in tensors if isinstance(x, There)]
        here = [x for x in tensors if not isinstance(x, There)]
        assert all(x.device.type == "cpu" for x in here), f"{name}: a constant without values"
        self._refuse_mixtures(name, args, there, here)
        asked = kwargs.get("device")
        arrives = bool(there) if asked is None else torch.device(asked) == DEVICE
        if name == "copy_":
            arrives = isinstance(args[0], There)
        self._note_wait(name, args, there, here, arrives)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        held = tree_map(lambda x: x.held if isinstance(x, There) else x, (args, kwargs))
        result = function(*held[0], **held[1])
        known = {id(x.held): x for x in there}  # what works in place returns its argument

        def wrapped(x):
            if not (arrives and isinstance(x, torch.Tensor)):
                return x
            return known[id(x)] if id(x) in known else There(x)

        return tree_map(wrapped, result)

    @staticmethod
    def _refuse_mixtures(name, args, there, here):
        if name in ("index", *PUTS):  # indices may come from the CPU
            values = args[2:3] if name in PUTS else ()
            here = [x for x in (args[0], *values) if not isinstance(x, There)]
        if there and name not in COPIES and any(x.dim() for x in here):
            shapes = [tuple(x.shape) for x in here if x.dim()]
            raise RuntimeError(f"{name}: tensors {shapes} on the CPU, others on the device")

    def _note_wait(self, name, args, there, here, arrives):
        masks = name in ("index", *PUTS) and any(
            isinstance(i, There) and i.dtype == torch.bool for i in args[1]
        )
        copied = name in COPIES and (bool(there) != arrives or (arrives and bool(here)))
        if masks or copied or (there and name in WAITS):
            lines = [f for f in traceback.extract_stack() if "/llie_core/" in f.filename][-1:]
            place = [f"{f.filename.split('/llie_core/')[1]}:{f.lineno}" for f in lines]
            self.waits[name, *place] += bool(place)


def moved(value):
    """Tensors of a nested value, or of a module in place, on DEVICE; inside Elsewhere."""
    if not isinstance(value, torch.nn.Module):
        return tree_map(lambda x: x.to(DEVICE) if isinstance(x, torch.Tensor) else x, value)
    for module in value.modules():
        for name, x in module._parameters.items():
            if x is not None:
                there = x.detach().to(DEVICE)
                module._parameters[name] = torch.nn.Parameter(there, x.requires_grad)
        for name, x in module._buffers.items():
            module._buffers[name] = x if x is None else x.to(DEVICE)
    return value


def here_and_there(build, numbers):
    """numbers(model, place) on the CPU, on the device, and where a GPU would be waited for, what
    happens once, such as the copy of a constant, left out."""
    torch.manual_seed(0)
    model = build()
    torch.manual_seed(1)
    here = [x.detach().clone() for x in numbers(model, lambda x: x)]
    torch.manual_seed(0)
    model = build()
    with Elsewhere() as mode:
        for _ in range(2):
            torch.manual_seed(0)
            model = moved(build())
            mode.waits.clear()
            torch.manual_seed(1)
            there = [x.detach().held for x in numbers(model, moved)]
    return here, there, +mode.waits


LOW, TARGET, REFERENCE = (seeded(2, 3, 32, 48, seed=k) for k in range(3))
BATCH = {"image": LOW, "target": TARGET, "reference": REFERENCE}


@pytest.mark.parametrize("name", [*list_enhancers(), *list_darkeners()])
def test_enhancer_mixes_no_devices(name):
    here, there, _ = here_and_there(
        lambda: create_enhancer(name), lambda model, to: [model.eval().enhance(to(LOW))]
    )
    torch.testing.assert_close(there, here)


class Degradation(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.stage, self.rivals = create_enhancer(name).degradation_stage(), Discriminators()


def step(model, outputs, objective, batch):
    total = objective(outputs, batch)["total"]
    total.backward()
    grads = [p.grad.abs().sum() for p in model.parameters() if p.grad is not None]
    return [total, torch.stack(grads)]


def trained(objective):
    def numbers(model, to):
        batch = to(BATCH)
        return step(model, model.train().training_outputs(batch["image"]), objective, batch)

    return numbers


def degradation(model, to):
    batch, objective = to(BATCH), DegradationObjective(model.rivals, anchor_weight=1.0)
    outputs = objective.outputs(model.stage, batch)
    objective.adversary_loss(outputs, batch)["total"].backward()
    return step(model, outputs, objective, batch)


def refinement(model, to):
    model.g_de.requires_grad_(False)
    batch, objective = to(BATCH), RefinementObjective(structural_similarity)
    return step(model, objective.outputs(model, batch), objective, batch)


DRGNS = ("drgn", "lw_drgn")
TRAININGS = {
    "zero_dce": (lambda: create_enhancer("zero_dce"), trained(upstream_loss)),
    "zero_dce_pp": (lambda: create_enhancer("zero_dce_pp"), trained(upstream_loss)),
    "ec_zero_dce": (lambda: create_enhancer("ec_zero_dce"), trained(darkening_loss)),
    "jcrnet": (lambda: create_enhancer("jcrnet"), trained(jcrnet_loss)),
    **{
        f"neid, {hue}": (
            lambda: create_enhancer("neid"), trained(lambda o, b, hue=hue: neid_loss(o, b, hue=hue))
        )
        for hue in HUES
    },
    **{f"{n}, degradation": (lambda n=n: Degradation(n), degradation) for n in DRGNS},
    **{f"{n}, refinement": (lambda n=n: create_enhancer(n), refinement) for n in DRGNS},
}  # fmt: skip
# Exposures are drawn on the CPU, and checked.
KNOWN_WAITS = {"ec_zero_dce": 3}


@pytest.mark.parametrize("name", TRAININGS)
def test_training_step_mixes_no_devices_and_hardly_waits(name):
    here, there, waits = here_and_there(*TRAININGS[name])
    torch.testing.assert_close(there, here)
    assert waits.total() <= KNOWN_WAITS.get(name, 0), dict(waits)


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_recognizer_mixes_no_devices(name):
    options, targets = RECOGNIZERS[name]
    try:
        create_recognizer(name, **options)
    except FileNotFoundError as error:
        pytest.skip(str(error))

    def numbers(model, to):
        images = to(seeded(2, 3, 96, 128)).requires_grad_()
        total = model.loss(images, to(targets))["total"]
        total.backward()
        model.predict(images.detach())
        return [total, images.grad]

    here, there, _ = here_and_there(lambda: create_recognizer(name, **options), numbers)
    torch.testing.assert_close(there, here)


def test_a_mixture_is_refused():
    with Elsewhere(), pytest.raises(RuntimeError, match="add: tensors"):
        torch.ones(3).to(DEVICE) + torch.ones(3)
