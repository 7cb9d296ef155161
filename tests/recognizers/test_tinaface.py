"""TinaFace: its size, anchors, assignment, loss, detections and the released weights.

The authors' checkpoint is not here: the tests of the released weights write a file of its names
and shapes (llie_core/recognizers/tinaface_released.csv) with random values, and hold our network
to a second forward pass, written from the authors' names.
"""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from read_images import FACE
from released import ResNet50, released_table
from seeded import seeded
from torch import nn
from torchvision.ops import box_iou, deform_conv2d

from llie_core.recognizers import create_recognizer
from llie_core.recognizers import tinaface as module
from llie_core.recognizers import tinaface_head as head
from llie_core.recognizers.multibox import assign
from llie_core.recognizers.targets import Objects, visible_faces

NO_FACE = {"boxes": torch.zeros(0, 4)}
TINAFACE = (head.POSITIVE_IOU, head.POSITIVE_IOU)


def small(frozen=True, seed=0, **options):
    torch.manual_seed(seed)
    return create_recognizer("tinaface", backbone="small", frozen=frozen, **options)


# Size


def test_the_released_file_has_the_counted_parameters():
    sizes = [math.prod(map(int, row["shape"].split("x"))) for row in released_table(module)]
    assert sum(sizes) == 37_979_636


def test_levels_and_anchors_of_both_backbones():
    with torch.device("meta"):
        model = create_recognizer("tinaface")
        classes, deltas, overlaps, anchors = model(torch.empty(2, 3, 96, 160))
    places = 24 * 40 + 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3 + 1 * 2
    assert classes.shape == overlaps.shape == (2, 3 * places)
    assert deltas.shape == (2, 3 * places, 4) and anchors.shape == (3 * places, 4)
    classes, *_ = small()(torch.zeros(1, 3, 96, 160))
    assert classes.shape == (1, 3 * (24 * 40 + 12 * 20 + 6 * 10 + 3 * 5))


def test_an_untrained_head_finds_a_face_one_time_in_a_hundred():
    model = small()
    torch.testing.assert_close(model.head.classes.bias.sigmoid(), torch.full((3,), 0.01))
    classes, deltas, overlaps, _ = model(255 * seeded(2, 3, 64, 64) - 120)
    assert 0.005 < classes.sigmoid().median() < 0.02
    assert not deltas.any() and not overlaps.any()


# Anchors


def test_anchors_by_hand():
    """Sides 10.08, 12.7 and 16 at stride 4, height 1.3 times the width, none of it rounded."""
    anchors = head.make_anchors([(2, 3)], (4,), torch.empty(0, dtype=torch.float64))
    assert anchors.shape == (2 * 3 * 3, 4)
    width, height = (anchors[:, 2:] - anchors[:, :2]).T
    sides = torch.tensor([10.0794, 12.6992, 16.0], dtype=torch.float64).repeat(6)
    torch.testing.assert_close((width * height).sqrt(), sides, rtol=0, atol=1e-4)
    torch.testing.assert_close(height / width, torch.full_like(width, 1.3))
    assert (width[0].item(), height[0].item()) == pytest.approx((8.8402, 11.4923), abs=1e-4)
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2)[::3].tolist()
    expected = [[0, 0], [4, 0], [8, 0], [0, 4], [4, 4], [8, 4]]
    np.testing.assert_allclose(centres, expected, rtol=0, atol=1e-12)


def test_a_forward_pass_gives_the_anchors_in_that_order():
    model = small()
    *_, anchors = model(torch.zeros(1, 3, 64, 96))
    strides = model.design.strides
    sizes = [(64 // stride, 96 // stride) for stride in strides]
    assert torch.equal(anchors, head.make_anchors(sizes, strides, anchors))


def test_the_coarsest_anchor_is_512_pixels():
    anchors = head.make_anchors([(1, 1)] * 6, (4, 8, 16, 32, 64, 128), torch.empty(0))
    area = (anchors[:, 2:] - anchors[:, :2]).prod(1)
    torch.testing.assert_close(area.sqrt()[[0, -1]], torch.tensor([4 * 2 ** (4 / 3), 512.0]))


# Assignment


def plain_assign(anchors, faces):
    """The release's assigner, step by step."""
    assigned = torch.full((len(anchors),), -1)
    if not len(faces):
        return assigned
    overlap = box_iou(faces, anchors)
    for a in range(len(anchors)):
        best = overlap[:, a].argmax()
        if overlap[best, a] >= 0.35:
            assigned[a] = best
    for n in range(len(faces)):
        if overlap[n].max() >= 0.35:
            assigned[overlap[n] == overlap[n].max()] = n
    return assigned


@pytest.mark.parametrize("seed", range(4))
def test_assignment_equals_the_plain_one(seed):
    anchors = head.make_anchors([(16, 16), (8, 8), (4, 4)], (4, 8, 16), torch.empty(0))
    corner = 56 * seeded(9, 2, seed=seed)
    faces = torch.cat([corner, corner + 4 + 30 * seeded(9, 2, seed=seed + 9)], 1)
    faces[-1] = faces[0] + 0.5  # two faces that want the same anchors
    ours = assign(anchors, faces, *TINAFACE)
    assert torch.equal(ours, plain_assign(anchors, faces))
    assert (ours >= 0).any() and (ours < 0).any()


def test_assignment_by_hand():
    face = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 3.5], [0, 0, 10, 3.4], [50, 50, 60, 60]])
    assert assign(anchors, face, *TINAFACE).tolist() == [0, 0, -1, -1]
    # The best anchor of the second face goes to it, though it overlaps the first one more.
    faces = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert assign(anchors[:1], faces, *TINAFACE).tolist() == [1]
    assert assign(anchors, face[:0], *TINAFACE).tolist() == [-1] * 4
    # Of a face that no anchor overlaps by 0.35, nothing is asked.
    assert assign(anchors[2:], face, *TINAFACE).tolist() == [-1, -1]


# Loss


def objects(boxes, ignored=()):
    boxes = torch.tensor(boxes).reshape(-1, 4)
    return Objects(boxes, torch.zeros(len(boxes)), torch.tensor(ignored).reshape(-1, 4))


def test_loss_by_hand():
    """Two images, three anchors each; one face, 4 pixels left of an anchor that moves by 2."""
    anchors = torch.tensor([[5.0, 0, 15, 10], [100, 100, 110, 110], [200, 0, 210, 10]])
    classes = torch.tensor([[2.0, -1.0, 0.0], [0.0, -3.0, 1.0]])
    overlaps = torch.tensor([[0.5, 9.0, 9.0], [9.0, 9.0, 9.0]])
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 0, 0] = -2.0  # tenths of 10 pixels
    faces = [objects([[1.0, 0.0, 11.0, 10.0]]), objects([])]
    terms = head.detection_loss(classes, deltas, overlaps, anchors, faces)
    number = 1 + 1  # the image without a face counts as one

    def focal(logit, face):
        p = 1 / (1 + math.exp(-logit))
        return -0.25 * (1 - p) ** 2 * math.log(p) if face else -0.75 * p**2 * math.log(1 - p)

    expected = focal(2.0, True) + sum(focal(c, False) for c in (-1.0, 0.0, 0.0, -3.0, 1.0))
    assert terms["class"].item() == pytest.approx(expected / number, rel=1e-5)
    iou = 80 / 120  # [3, 13] against [1, 11]
    diou = 1 - iou + 2**2 / (12**2 + 10**2)
    assert terms["box"].item() == pytest.approx(diou / number, rel=1e-5)
    q = 1 / (1 + math.exp(-0.5))
    bce = -(iou * math.log(q) + (1 - iou) * math.log(1 - q))
    assert terms["iou"].item() == pytest.approx(bce / number, rel=1e-5)
    total = terms["class"] + 2 * terms["box"] + terms["iou"]
    torch.testing.assert_close(terms["total"], total)


def test_anchors_of_ignored_faces_are_left_out():
    anchors = torch.tensor([[0.0, 0, 10, 10], [100, 100, 110, 110]])
    classes = torch.tensor([[3.0, -2.0]], requires_grad=True)
    zeros = torch.zeros(1, 2)
    ignored = [objects([], [[0.0, 0.0, 10.0, 10.0]])]
    head.detection_loss(classes, torch.zeros(1, 2, 4), zeros, anchors, ignored)["total"].backward()
    assert classes.grad[0, 0] == 0 and classes.grad[0, 1] != 0
    # A face there that is to be found counts all the same.
    classes.grad = None
    both = [objects([[0.0, 0.0, 10.0, 10.0]], [[0.0, 0.0, 10.0, 10.0]])]
    head.detection_loss(classes, torch.zeros(1, 2, 4), zeros, anchors, both)["total"].backward()
    assert (classes.grad[0] != 0).all()


def test_the_iou_is_a_target_without_gradient():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    deltas = torch.full((1, 1, 4), 0.3, requires_grad=True)
    faces = [objects([[0.0, 0.0, 9.0, 10.0]])]
    terms = head.detection_loss(torch.zeros(1, 1), deltas, torch.zeros(1, 1), anchors, faces)
    assert terms["box"].requires_grad and not terms["iou"].requires_grad


def test_faces_are_cut_or_ignored_at_the_edge():
    images = torch.zeros(1, 3, 50, 80)
    boxes = torch.tensor([[-4.0, 10, 20, 30], [70, 10, 100, 40], [60, 30, 90, 60], [5, 5, 9, 9]])
    ignore = torch.tensor([False, False, False, True])
    (faces,) = visible_faces([{"boxes": boxes, "ignore": ignore}], images)
    assert faces.boxes.tolist() == [[0, 10, 20, 30]]
    assert faces.ignored.tolist() == [[5, 5, 9, 9], [70, 10, 100, 40], [60, 30, 90, 60]]


# Frozen and trained


def test_overfits_one_batch_and_finds_its_faces(astronaut):
    """A face of 28 pixels, one of 14, and an image without any."""
    second = torch.full((1, 3, 64, 64), 0.5)
    second[..., 16:48, 24:56] = F.avg_pool2d(astronaut, 8)
    images = torch.cat([F.avg_pool2d(astronaut, 4), second, torch.full_like(second, 0.5)])
    boxes = [FACE / 4, FACE / 8 + torch.tensor([24.0, 16.0, 24.0, 16.0])]
    targets = [{"boxes": boxes[0]}, {"boxes": boxes[1]}, NO_FACE]
    model = small(frozen=False)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(45):
        losses.append(model.loss(images, targets)["total"])
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.25 * losses[0]
    found = model.freeze().predict(images, 0.6)
    assert [len(f["scores"]) for f in found] == [1, 1, 0]
    for f, box in zip(found, boxes, strict=False):
        assert box_iou(f["boxes"], box).item() > 0.8


# Detections


def logit(p):
    return math.log(p / (1 - p))


def test_scores_and_suppression_by_hand():
    """Scores class^0.8 · iou^1.2; the second box overlaps the first by 0.8, the third by 0.25."""
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 16], [12, 0, 32, 20], [50, 50, 70, 70]])
    classes = torch.tensor([logit(0.9), logit(0.99), logit(0.5), logit(0.02)])
    overlaps = torch.tensor([logit(0.8), logit(0.5), logit(0.7), logit(0.1)])
    found = head.detections(classes, boxes, overlaps, (100, 100), (1.0, 1.0), 0.01)
    assert found["boxes"].tolist() == [[0, 0, 20, 20], [12, 0, 32, 20]]
    expected = [0.9**0.8 * 0.8**1.2, 0.5**0.8 * 0.7**1.2]
    assert found["scores"].tolist() == pytest.approx(expected, rel=1e-5)
    everything = head.detections(classes, boxes, overlaps, (100, 100), (1.0, 1.0), 0.0)
    assert len(everything["scores"]) == 3  # 0.02^0.8 · 0.1^1.2 = 0.0028


def test_boxes_come_back_to_the_image_as_given():
    """Found at twice the height and three times the width; cut first, then low ones dropped."""
    boxes = torch.tensor(
        [[-9.0, 4, 30, 44], [33, 10, 66, 27.9], [33, 40, 66, 58.0], [200, 0, 230, 30]]
    )
    sure = torch.full((4,), 9.0)
    found = head.detections(sure, boxes, sure, (60, 90), (2.0, 3.0), 0.01)
    assert sorted(found["boxes"].tolist()) == [[0, 2, 10, 22], [11, 20, 22, 29]]


@pytest.mark.parametrize(
    "size, test_size, expected",
    [
        ((768, 1024), (1100, 1650), (1100, 1467)),  # the shorter side decides
        ((400, 1024), (1100, 1650), (645, 1650)),  # the longer side decides
        ((1024, 400), (1100, 1650), (1650, 645)),
        ((2200, 3300), (1100, 1650), (1100, 1650)),
        ((1, 5000), (1100, 1650), (1, 1650)),
        ((37, 53), None, (37, 53)),
    ],
)
def test_test_size(size, test_size, expected):
    assert head.scaled_size(size, test_size) == expected


def test_own_test_sizes():
    assert small().test_size is None
    with torch.device("meta"):
        assert create_recognizer("tinaface").test_size == (1100, 1650)
        assert create_recognizer("tinaface", test_size=None).test_size is None


@pytest.fixture(scope="module")
def telling():
    """A model whose predictions differ from place to place, so that some boxes survive."""
    model = copy.deepcopy(small())
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer, std in ((model.head.classes, 0.3), (model.head.deltas, 0.05)):
            layer.weight.normal_(0, std, generator=generator)
    return model


def test_predictions_at_twice_the_size_are_half_as_large(telling):
    images = seeded(2, 3, 64, 96)
    doubled = F.interpolate(images, scale_factor=2, mode="bilinear")
    there = telling.predict(doubled, 0.02)
    telling.test_size = (128, 192)
    here = telling.predict(images, 0.02)
    telling.test_size = None
    for a, b in zip(here, there, strict=True):
        tall = (b["boxes"][:, 3] - b["boxes"][:, 1]) >= 18
        assert tall.any()
        for box in b["boxes"][tall][:5] / 2:
            assert box_iou(box[None], a["boxes"]).max() > 0.99


# Released weights


@pytest.fixture(scope="module")
def released_state():
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for row in released_table(module):
        name, shape = row["released"], tuple(map(int, row["shape"].split("x")))
        if len(shape) == 4:
            gain = 0.5 if "conv_offset" in name else 1.4
            values = torch.randn(shape, generator=generator) * gain / math.prod(shape[1:]) ** 0.5
        else:
            values = 0.2 * torch.randn(shape, generator=generator)
            values += 1.0 if name.endswith("weight") else 0.0
        tensors[name] = values
    return tensors


@pytest.fixture(scope="module")
def released_file(released_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "tinaface.pth"
    torch.save(released_state, path)
    return path


class Released(ResNet50):
    """A forward pass by the authors' names."""

    norms = "gn"

    def middle(self, name, x, stride):
        if f"{name}.conv_offset.weight" not in self.state:
            return self.conv(name, x, stride)
        offset = self.conv(f"{name}.conv_offset", x, stride)
        return deform_conv2d(x, offset, self[f"{name}.weight"], stride=stride, padding=1)

    def conv_gn(self, name, x, stride=1):
        return self.norm(f"{name}.gn", self.conv(f"{name}.conv", x, stride))

    def fpn(self, features):
        laterals = [self.conv_gn(f"neck.0.lateral_convs.{i}", f) for i, f in enumerate(features)]
        for i in (2, 1, 0):
            up = F.interpolate(laterals[i + 1], size=laterals[i].shape[2:], mode="bilinear")
            laterals[i] = laterals[i] + up
        levels = [self.conv_gn(f"neck.0.fpn_convs.{i}", x) for i, x in enumerate(laterals)]
        levels.append(self.conv_gn("neck.0.fpn_convs.4", features[-1], 2))
        return [*levels, self.conv_gn("neck.0.fpn_convs.5", levels[-1], 2)]

    def inception(self, x):
        name = "neck.1.level_convs.0"
        shared = self.conv_gn(f"{name}.1", x).relu()
        third = self.conv_gn(f"{name}.4", self.conv_gn(f"{name}.3", shared).relu())
        parts = [self.conv_gn(f"{name}.0", x), self.conv_gn(f"{name}.2", shared), third]
        return torch.cat(parts, 1).relu()

    def __call__(self, x):
        rows = []
        for level in map(self.inception, self.fpn(self.resnet("backbone", x))):
            towers = {"cls": level, "reg": level}
            for tower in towers:
                for i in range(4):
                    y = self.conv_gn(f"bbox_head.{tower}_convs.{i}", towers[tower])
                    towers[tower] = y.relu()
            parts = ("cls", "cls"), ("reg", "reg"), ("reg", "iou")
            maps = [self.conv(f"bbox_head.retina_{part}", towers[tower]) for tower, part in parts]
            rows.append([m.permute(0, 2, 3, 1).reshape(len(x), -1, m.shape[1] // 3) for m in maps])
        classes, deltas, overlaps = (torch.cat(part, 1) for part in zip(*rows, strict=True))
        return classes[..., 0], deltas, overlaps[..., 0]


def test_the_table_lists_every_tensor_once_with_its_shape():
    with torch.device("meta"):
        own = create_recognizer("tinaface").state_dict()
    rows = released_table(module)
    assert len({row["released"] for row in rows}) == len(rows) == 252
    assert {row["ours"]: row["shape"] for row in rows} == {
        name: "x".join(map(str, value.shape)) for name, value in own.items()
    }


def test_the_released_network_is_ours(released_state, released_file):
    model = create_recognizer("tinaface", test_size=(64, 96))
    model.load_released_weights(released_file)
    x = 60 * torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        *ours, anchors = model(x)
        theirs = Released(released_state)(x)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.std() > 0.1
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
    assert len(anchors) == ours[0].shape[1]
    (found,) = model.predict(seeded(1, 3, 32, 48), 0.3)
    assert len(found["scores"]) and found["boxes"].max() <= 48
    assert not any(p.requires_grad for p in model.parameters())


def test_the_resnet_passes_gradients_to_the_images():
    model = create_recognizer("tinaface")
    images = seeded(1, 3, 40, 64).requires_grad_()
    model.loss(images, [{"boxes": torch.tensor([[10.0, 5.0, 30.0, 33.0]])}])["total"].backward()
    assert torch.isfinite(images.grad).all() and images.grad.any()
    assert all(p.grad is None for p in model.parameters())


def test_released_weights_are_of_one_network_only(released_file):
    with pytest.raises(ValueError, match="weights are of resnet50, this is small"):
        small().load_released_weights(released_file)


def test_a_deformable_convolution_starts_as_a_plain_one():
    layer = module.Deformable(4, stride=2)
    nn.init.zeros_(layer.offset.weight)
    nn.init.zeros_(layer.offset.bias)
    x = seeded(2, 4, 9, 11)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.conv.weight, stride=2, padding=1))


def test_offsets_are_rows_first():
    """All taps moved by one row read what is one row below."""
    layer = module.Deformable(4, stride=1)
    nn.init.zeros_(layer.offset.weight)
    with torch.no_grad():
        layer.offset.bias.copy_(torch.tensor([1.0, 0.0] * 9))
    x = seeded(1, 4, 8, 8)
    plain = F.conv2d(x, layer.conv.weight, padding=1)
    torch.testing.assert_close(layer(x)[..., 1:-2, 1:-1], plain[..., 2:-1, 1:-1])


def test_loss_gradcheck():
    anchors = head.make_anchors([(3, 3)], (8,), torch.empty(0, dtype=torch.float64))
    shapes = ((2, 27), (2, 27, 4), (2, 27))
    parts = [
        (seeded(*s, seed=i, dtype=torch.float64) - 0.5).requires_grad_()
        for i, s in enumerate(shapes)
    ]
    faces = [objects([[1.0, 2.0, 18.0, 25.0]]), objects([])]
    assert (assign(anchors.float(), faces[0].boxes, *TINAFACE) >= 0).sum() > 3

    def totals(classes, deltas, overlaps):
        terms = head.detection_loss(classes, deltas, overlaps, anchors, faces)
        return terms["class"], terms["box"]

    assert torch.autograd.gradcheck(totals, parts)
