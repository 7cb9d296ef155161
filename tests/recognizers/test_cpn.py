"""CPN: its size, its two lights, its loss, how it decodes maps, and the released weights.

The ExLPose authors' checkpoint is not here: the test of the released weights writes a file of its
names and shapes (llie_core/recognizers/cpn_released.csv) with random values, and holds our network
to a second forward pass, written from the authors' names.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from released import ResNet50, released_table
from seeded import changed, seeded, state_of

from llie_core.metrics.cost import count_macs
from llie_core.recognizers import cpn as module
from llie_core.recognizers import create_recognizer, heatmaps

SIZE = (64, 48)


def tiny(frozen=True, seed=0, **options):
    torch.manual_seed(seed)
    return create_recognizer("cpn", backbone="tiny", frozen=frozen, **options)


def persons(count, size=SIZE, seed=0):
    """Images of 14 discs of different colours, and the joints at their centres, all visible."""
    height, width = size
    joints = seeded(count, 14, 3, seed=seed) * torch.tensor([width - 8.0, height - 8.0, 0.0])
    joints += torch.tensor([4.0, 4.0, 2.0])
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    images = torch.full((count, 3, *size), 0.2)
    for j in range(14):
        colour = torch.tensor([j % 3, j // 3 % 3, j // 7])[:, None, None] / 2
        px, py = joints[:, j, :2, None, None].unbind(1)
        images = torch.where(((x - px) ** 2 + (y - py) ** 2 < 9)[:, None], colour, images)
    return images, joints


# Size


def test_only_the_backbone_has_two_sets():
    """ResNet-50 has 53,120 batch-norm parameters: the second set adds them once."""
    with torch.device("meta"):
        model = create_recognizer("cpn")
    second = {n: p.numel() for n, p in model.named_parameters() if ".sets.1." in n}
    assert sum(second.values()) == 53_120
    assert all(name.startswith("backbone.") for name in second)


def test_macs_are_the_published_ones():
    with torch.device("meta"):
        model = create_recognizer("cpn")
    assert count_macs(model, (256, 192)).macs == pytest.approx(7.27e9, rel=0.01)


@pytest.mark.parametrize("size", [(256, 192), (64, 96), (37, 53), (50, 49), (4, 4), (1, 1)])
def test_maps_are_a_quarter_of_any_size(size):
    global_maps, refined = tiny()(torch.rand(1, 3, *size))
    cells = (-(-size[0] // 4), -(-size[1] // 4))
    assert [m.shape for m in (*global_maps, refined)] == 5 * [(1, 14, *cells)]
    assert refined.isfinite().all()


# Two lights, and the frozen state


@pytest.mark.parametrize("light, own, other", [("low", 0, 1), ("well", 1, 0)])
def test_a_light_touches_its_own_batch_norm_only(light, own, other):
    model = tiny(frozen=False)
    images, joints = persons(2)
    before = state_of(model)
    model.loss(images, {"joints": joints}, light=light)["total"].backward()
    statistics = {n for n in changed(model, before) if n.startswith("backbone.")}
    norms = sum(isinstance(m, module.LightNorm) for m in model.backbone.modules())
    assert len(statistics) == 3 * norms and all(f".sets.{own}." in n for n in statistics)
    without = {name for name, p in model.named_parameters() if p.grad is None}
    backbone = {n for n, _ in model.named_parameters() if n.startswith("backbone.")}
    assert without == {n for n in backbone if f".sets.{other}." in n}


def test_the_attribute_is_the_light_of_a_call_that_names_none():
    model, images = tiny(light="well"), seeded(1, 3, *SIZE)
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, module.LightNorm) and len(norm.sets) == 2:
                norm.sets[1].weight.mul_(1.5)
    assert model(images)[1].equal(model(images, light="well")[1])
    assert not model(images)[1].allclose(model(images, light="low")[1], rtol=0.1)
    model.light = "low"
    assert model(images)[1].equal(model(images, light="low")[1])
    with pytest.raises(ValueError, match="choose one of 'low', 'well'"):
        model.predict(images, light="bright")


# Preprocessing


def test_scaling_brings_each_channel_to_its_mean():
    images = 0.1 * seeded(2, 3, 8, 8)
    torch.testing.assert_close(module.scale_to_mean(images).mean((2, 3)), torch.full((2, 3), 0.4))
    mean = torch.tensor([[0.1, 0.2, 0.4], [0.8, 0.05, 0.01]])  # of the whole images
    scaled = module.scale_to_mean(images, mean)
    factor = torch.tensor([[4.0, 2, 1], [0.5, 8, 40]])[..., None, None]
    torch.testing.assert_close(scaled, images * factor)
    assert scaled.max() > 1  # not clipped
    assert not module.scale_to_mean(torch.zeros(1, 3, 4, 4)).any()


def test_scaled_input_is_an_option_of_the_low_light():
    raw, images = tiny(), 0.02 * seeded(2, 3, *SIZE)
    scaled = tiny(scale_input=True)
    assert not raw(images)[1].allclose(scaled(images)[1], rtol=0.01)
    assert raw(module.scale_to_mean(images))[1].allclose(scaled(images)[1])
    mean = torch.full((2, 3), 0.02)
    assert raw(20 * images)[1].allclose(scaled(images, mean=mean)[1], atol=1e-4)
    assert raw(images, light="well")[1].equal(scaled(images, light="well")[1])


def test_well_lit_images_are_normalised():
    model = tiny()
    centre, spread = (torch.tensor(v)[:, None, None] for v in module.WELL_LIT)
    flat = (centre + spread).expand(1, 3, 8, 8)
    torch.testing.assert_close(model.prepared(flat, "well", None), torch.ones(1, 3, 8, 8))
    assert model.prepared(flat, "low", None).equal(flat)


# Loss


def one_joint(x, y, label=2.0):
    joints = torch.zeros(1, 14, 3)
    joints[0, 3] = torch.tensor([x, y, label])
    return joints


def test_targets_are_opencvs_gaussians_at_the_joints_cell():
    """σ = 0.15 k + 0.35; the values are cv2.GaussianBlur's of one cell for k = 15 and 11."""
    for kernel, row in (
        (15, [1, 0.9287, 0.7439, 0.5139, 0.3062, 0.1574, 0.0698, 0.0267, 0]),
        (11, [1, 0.8825, 0.6065, 0.3247, 0.1353, 0.0439, 0]),
    ):
        maps = heatmaps.target_maps(one_joint(83.9, 120)[..., :2], (64, 48), kernel)
        assert maps.shape == (1, 14, 64, 48) and maps[0, 3].argmax() == 30 * 48 + 20
        expected = 255 * torch.tensor(row, dtype=torch.float32)
        for line in (maps[0, 3, 30, 20:], maps[0, 3, 30, :21].flip(0), maps[0, 3, 30:, 20]):
            torch.testing.assert_close(line[: len(row)], expected, rtol=0, atol=0.02)
        torch.testing.assert_close(maps[0, 3, 31, 21], expected[1] ** 2 / 255, rtol=0, atol=0.02)


def test_small_kernels_differ_little_from_opencvs_tables():
    for kernel, row in (
        (9, [1, 0.85, 0.5, 0.2167, 0.0667, 0]),
        (7, [1, 0.7778, 0.3889, 0.1111, 0]),
    ):
        line = heatmaps.target_maps(one_joint(82, 122)[..., :2], (64, 48), kernel)[0, 3, 30, 20:]
        assert (line[: len(row)] / 255 - torch.tensor(row)).abs().max() < 0.03
        assert not line[len(row) - 1 :].any()


def test_targets_grow_with_the_map():
    """Half as many cells a side: the same Gaussian at every second cell."""
    large = heatmaps.target_maps(torch.tensor([[[82.0, 122]]]), (64, 48), 15)
    small = heatmaps.target_maps(torch.tensor([[[42.0, 62]]]), (32, 24), 15)
    torch.testing.assert_close(small, large[..., ::2, ::2])


def perfect(joints, size):
    """Maps that are exactly the targets of visible joints."""
    maps = [heatmaps.target_maps(joints[..., :2], size, k) for k in (15, 11, 9, 7, 7)]
    return maps[:4], maps[4]


def test_terms_of_maps_that_are_off_by_constants():
    joints = persons(3)[1]
    global_maps, refined = perfect(joints, (16, 12))
    global_maps = [maps + off for maps, off in zip(global_maps, (1, 2, 3, 4), strict=True)]
    terms = heatmaps.pose_loss(global_maps, refined + 5, joints)
    assert terms["global"].item() == pytest.approx((1 + 4 + 9 + 16) / 2, rel=1e-4)
    assert terms["refined"].item() == pytest.approx(25, rel=1e-4)
    assert terms["total"].item() == pytest.approx(40, rel=1e-4)


def test_visibility_is_read_as_the_released_code_does():
    joints = persons(1)[1]
    joints[0, :4, 2] = 1  # hidden
    joints[0, 4:6, 2] = 0  # not labelled
    global_maps, refined = perfect(joints, (16, 12))
    for maps in global_maps:
        maps[0, :6] = 0
    refined[0, 4:6] = 999.0
    assert heatmaps.pose_loss(global_maps, refined, joints)["total"] == 0
    shown = [maps.clone() for maps in perfect(joints, (16, 12))[0]]
    assert heatmaps.pose_loss(shown, refined, joints)["global"] > 0
    refined[0, 0] += 8
    assert heatmaps.pose_loss(global_maps, refined, joints)["refined"].item() == pytest.approx(8)


def test_ohkm_takes_the_eight_hardest_joints_of_each_person():
    errors = torch.stack([torch.arange(14.0), torch.tensor([8.0] + 13 * [0.0])]).requires_grad_()
    loss = heatmaps.hard_joints(errors)
    assert loss.item() == pytest.approx((sum(range(6, 14)) / 8 + 1) / 2)
    loss.backward()
    assert errors.grad[0].nonzero().flatten().tolist() == list(range(6, 14))
    torch.testing.assert_close(errors.grad[0, 6:], torch.full((8,), 1 / 16))


@pytest.mark.parametrize(
    "place", [(-1.0, 5.0), (5.0, -0.1), (48.0, 5.0), (5.0, 64.0), (torch.nan, 5.0), (torch.inf, 1)]
)
def test_a_joint_outside_counts_as_not_labelled(place):
    model, (images, joints) = tiny(), persons(1)
    without = joints.clone()
    joints[0, 2, 0], joints[0, 2, 1] = place
    without[0, 2] = 0
    terms = model.loss(images, {"joints": joints})
    assert terms == model.loss(images, {"joints": without}) and terms["total"].isfinite()


def test_joints_on_the_far_edges_are_outside():
    """48 is the left edge of the first pixel that is not there."""
    joints = torch.tensor([[[47.9, 63.9, 2], [48, 5, 2], [5, 64, 1], [0, 0, 1], [9, 9, 0]]])
    none = [-1.0, -1, 0]
    expected = torch.tensor([[[47.9, 63.9, 2], none, none, [0, 0, 1], none]])
    assert heatmaps.inside_only(joints, SIZE).equal(expected)


# Decoding


def test_a_peak_is_decoded_a_quarter_towards_the_second():
    maps = torch.zeros(1, 3, 16, 12)
    maps[0, 0, 5, 7], maps[0, 0, 5, 8] = 255, 100  # right
    maps[0, 1, 15, 11], maps[0, 1, 15, 10] = 51, 10  # the last cell; left
    maps[0, 2, 4, 4], maps[0, 2, 7, 8] = 255, 254  # as far as 3 down, 4 right
    joints = heatmaps.decode(maps, blur=0)
    expected = [
        [4 * 7.25 + 2, 4 * 5 + 2, 1.5],
        [4 * 10.75 + 2, 4 * 15 + 2, 0.7],
        [4 * (4 + 0.25 * 0.8) + 2, 4 * (4 + 0.25 * 0.6) + 2, 1.5],
    ]
    torch.testing.assert_close(joints[0], torch.tensor(expected))


def test_peaks_of_negative_maps_are_their_highest_cells():
    maps = torch.full((1, 1, 16, 12), -9.0)
    maps[0, 0, 5, 7], maps[0, 0, 5, 6] = -1, -2
    torch.testing.assert_close(
        heatmaps.decode(maps, blur=0)[0, 0], torch.tensor([4 * 6.75 + 2, 22.0, 0.5 - 1 / 255])
    )


def released_decoding(values):
    """One map, cell by cell as the authors' test goes: blurred by 21 between zeros, two peaks."""
    from scipy.ndimage import correlate1d

    weights = np.exp(-(np.arange(-10, 11) ** 2) / (2 * 3.5**2))
    blurred = values
    for axis in (0, 1):
        blurred = correlate1d(blurred, weights / weights.sum(), axis, mode="constant")
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    blurred[y, x] = -np.inf
    dy, dx = np.unravel_index(blurred.argmax(), blurred.shape) - np.array([y, x])
    length = np.hypot(dx, dy)
    cx = np.clip(x + 0.25 * dx / length, 0, values.shape[1] - 1)
    cy = np.clip(y + 0.25 * dy / length, 0, values.shape[0] - 1)
    return 4 * cx + 2, 4 * cy + 2, values[y, x] / 255 + 0.5


def test_decoding_equals_the_released_one():
    maps = 255 * F.interpolate(seeded(2, 14, 8, 6), (64, 48), mode="bicubic").double()
    expected = [[released_decoding(m.numpy().copy()) for m in person] for person in maps]
    torch.testing.assert_close(heatmaps.decode(maps), torch.tensor(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("joints, fixed", [(14, {12, 13}), (17, {0})])
def test_predictions_mirror_with_the_image(joints, fixed):
    model, images = tiny(joints=joints), seeded(2, 3, *SIZE)
    order = model.mirror_order()
    assert {j for j in range(joints) if order[j] == j} == fixed
    assert order[1 if joints == 17 else 0] == (2 if joints == 17 else 1)
    here, there = model.predict(images), model.predict(images.flip(3))
    mirrored = there["joints"][:, order] * torch.tensor([-1.0, 1, 1])
    mirrored[..., 0] += SIZE[1]
    torch.testing.assert_close(here["joints"], mirrored, rtol=0, atol=1e-3)
    plain = model.predict(images, flip=False)["joints"]
    assert not torch.allclose(plain, here["joints"], atol=1)


def test_odd_sizes_are_read_as_padded_with_black():
    model, images = tiny(), seeded(1, 3, 37, 50)
    padded = F.pad(images, (0, 2, 0, 3))
    assert model(images)[1].equal(model(padded)[1])
    assert model.predict(images)["joints"].equal(model.predict(padded)["joints"])


def test_scores_are_the_mean_over_joints():
    found = tiny().predict(seeded(3, 3, 37, 50))
    assert found["joints"].shape == (3, 14, 3) and not found["joints"].requires_grad
    torch.testing.assert_close(found["scores"], found["joints"][..., 2].mean(1))
    assert (found["joints"][..., :2] >= 2).all()
    assert (found["joints"][..., :2] <= torch.tensor([50.0, 38.0])).all()


def test_annotated_persons_come_back_from_their_maps(shared_data):
    """Real ExLPose crops: targets, decoded and put back into the image, are the annotations."""
    from llie_core.data import open_dataset
    from llie_core.data.pose import to_image
    from llie_core.metrics.pose import KeypointAP

    data = open_dataset("exlpose", "test", shared_data)
    items = [data[i] for i in range(min(8, len(data)))]
    joints, regions, boxes = (
        torch.stack([item[key] for item in items]) for key in ("joints", "region", "boxes")
    )
    maps = heatmaps.target_maps(joints[..., :2], (64, 48), heatmaps.REFINED_KERNEL)
    found = to_image(heatmaps.decode(maps), regions, (256, 192))
    true = to_image(joints, regions, (256, 192))
    ids = [item["image_id"] for item in items]
    score = KeypointAP("exlpose")
    score.update(
        {"image_ids": ids, "joints": found, "scores": found[..., 2].mean(1)},
        {"image_ids": ids, "joints": true, "boxes": boxes},
    )
    assert score.compute()["ap"] > 0.9
    images = torch.stack([item["image"] for item in items])
    mean = torch.stack([item["mean"] for item in items])
    predicted = tiny(scale_input=True).predict(images, mean=mean)
    assert predicted["joints"].isfinite().all()


# Released weights


@pytest.fixture(scope="module")
def released_state():
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for row in released_table(module):
        shape = tuple(map(int, row["shape"].split("x")))
        if row["kind"] == "conv":
            fan = shape[1] * shape[2] * shape[3]
            values = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
            tensors[f"{row['released']}.weight"] = values
            continue
        names = [row["released"]]
        if row["kind"] == "light norm":
            names = [f"{row['released']}.bns.{light}" for light in (0, 1)]
        for name in names:
            tensors[f"{name}.weight"] = 0.5 + torch.rand(shape, generator=generator)
            tensors[f"{name}.bias"] = 0.1 * torch.randn(shape, generator=generator)
            tensors[f"{name}.running_mean"] = 0.1 * torch.randn(shape, generator=generator)
            tensors[f"{name}.running_var"] = 0.5 + torch.rand(shape, generator=generator)
            tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return tensors


class Released(ResNet50):
    """A forward pass by the authors' names."""

    def __init__(self, state, light):
        super().__init__(state)
        self.light = light

    def norm(self, name, x):
        both = f"{name}.bns.0.weight" in self.state
        return super().norm(f"{name}.bns.{self.light}" if both else name, x)

    def up(self, x, **size):
        return F.interpolate(x, **size, mode="bilinear", align_corners=True)

    def __call__(self, x):
        features, levels, maps = self.resnet("resnet_lsbn", x)[::-1], [], []
        size = features[-1].shape[2:]
        for i, feature in enumerate(features):
            name = f"global_net.laterals.{i}"
            level = self.norm(f"{name}.1", self.conv(f"{name}.0", feature)).relu()
            if i:
                name = f"global_net.upsamples.{i - 1}"
                up = self.conv(f"{name}.1", self.up(levels[-1], scale_factor=2))
                level = level + self.norm(f"{name}.2", up)
            levels.append(level)
            name = f"global_net.predict.{i}"
            y = self.norm(f"{name}.1", self.conv(f"{name}.0", level)).relu()
            maps.append(self.norm(f"{name}.5", self.up(self.conv(f"{name}.3", y), size=size)))
        wide = []
        for i, level in enumerate(levels):
            for k in range(3 - i):
                level = self.bottleneck(f"refine_net.cascade.{i}.{k}", level)
            wide.append(self.up(level, size=size))
        name = "refine_net.final_predict"
        y = self.conv(f"{name}.1", self.bottleneck(f"{name}.0", torch.cat(wide, 1)))
        return maps, self.norm(f"{name}.2", y)


def test_the_table_lists_every_tensor_of_ours_once():
    with torch.device("meta"):
        model = create_recognizer("cpn")
    assert len(module.released_names()) == len(model.state_dict())
    rows = released_table(module)
    convs = sum(
        np.prod(list(map(int, row["shape"].split("x")))) for row in rows if row["kind"] == "conv"
    )
    sets = {"norm": 1, "light norm": 2}
    norms = sum(2 * sets[row["kind"]] * int(row["shape"]) for row in rows if row["kind"] in sets)
    assert convs + norms == 27_425_356


def test_released_weights_give_the_released_forward(released_state, tmp_path):
    model, path = create_recognizer("cpn"), tmp_path / "released.pth.tar"
    wrapped = {f"module.{name}": value for name, value in released_state.items()}
    torch.save({"epoch": 32, "state_dict": wrapped, "optimizer": {"state": {}}}, path)
    model.load_released_weights(path)
    images = seeded(1, 3, 64, 96)
    centre, spread = (torch.tensor(v)[:, None, None] for v in module.WELL_LIT)
    seen = []
    for light, prepared in (("low", images), ("well", (images - centre) / spread)):
        with torch.no_grad():
            maps, refined = model(images, light=light)
            expected = Released(released_state, module.LIGHTS[light])(prepared)
        seen.append(refined)
        for ours, theirs in zip((*maps, refined), (*expected[0], expected[1]), strict=True):
            assert theirs.std() > 0.1
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert (seen[0] - seen[1]).abs().max() > 0.1
    assert not any(p.requires_grad for p in model.parameters())


def test_released_weights_are_of_one_network_only(tmp_path):
    with pytest.raises(ValueError, match="resnet50 with 14 joints, this is tiny with 14"):
        tiny().load_released_weights(tmp_path / "any.pth")


@pytest.mark.parametrize("tracked", [True, False])
def test_the_backbone_starts_from_imagenet_for_both_lights(tmp_path, tracked):
    from torchvision.models import resnet50

    torch.manual_seed(1)
    theirs, path = resnet50(), tmp_path / "resnet50.pth"
    state = {k: v for k, v in theirs.state_dict().items() if tracked or "tracked" not in k}
    torch.save(state, path)
    model = create_recognizer("cpn")
    head = model.refine_net.predict.weight.clone()
    model.load_imagenet_backbone(path)
    assert torch.equal(model.refine_net.predict.weight, head)
    x = seeded(1, 3, 64, 64)
    with torch.no_grad():
        theirs.eval()
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        expected = theirs.layer2(theirs.layer1(y))
        for light in module.LIGHTS.values():
            torch.testing.assert_close(model.backbone(x, light)[2], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="ImageNet's file is of resnet50, this is tiny"):
        tiny().load_imagenet_backbone(path)


def test_the_loss_scales_by_the_mean_of_the_whole_image():
    model = tiny(scale_input=True)
    images, joints = 0.01 * seeded(2, 3, *SIZE), torch.full((2, 14, 3), 2.0)
    mean = torch.tensor([[0.02, 0.01, 0.01], [0.01, 0.01, 0.01]])
    by_targets = model.loss(images, {"joints": joints, "mean": mean})["total"]
    assert by_targets == model.loss(images, {"joints": joints}, mean=mean)["total"]
    assert by_targets != model.loss(images, {"joints": joints})["total"]
    features = model.features(images, "low", mean)
    assert by_targets == model.loss(images, {"joints": joints}, features=features)["total"]
    assert len(features) == 5 and features[4].shape[2:] == (SIZE[0] // 2, SIZE[1] // 2)


def test_half_precision_maps_keep_their_quarters():
    maps = heatmaps.target_maps(torch.tensor([[[181.0, 241.0]]]), (64, 48), 15)
    for dtype in (torch.bfloat16, torch.float16):
        assert heatmaps.decode(maps.to(dtype), 0).dtype == torch.float32
    found = tiny().predict(seeded(1, 3, *SIZE).bfloat16())
    assert found["joints"].dtype == torch.float32


def test_overfits_one_batch():
    model = tiny(frozen=False)
    images, joints = persons(4)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        terms = model.loss(images, {"joints": joints})
        losses.append(terms["refined"].item())
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
    model.freeze()
    found = model.predict(images, flip=False)
    distance = (found["joints"][..., :2] - joints[..., :2]).norm(dim=2)
    assert losses[-1] < 0.5 * losses[0]
    assert (distance < 4).float().mean() > 0.9  # a cell
    assert found["scores"].min() > 0.6


def test_blur_prefers_a_broad_peak_and_the_score_is_the_maps_own():
    maps = torch.zeros(1, 1, 64, 48)
    maps[0, 0, 10, 10] = 255
    maps += heatmaps.target_maps(torch.tensor([[[120.0, 200.0]]]), (64, 48), 15) / 2
    sharp, broad = heatmaps.decode(maps, blur=0), heatmaps.decode(maps)
    assert sharp[0, 0, :2].sub(42).abs().max() <= 1 and sharp[0, 0, 2] == 1.5
    assert broad[0, 0, :2].sub(torch.tensor([122.0, 202.0])).abs().max() <= 1
    assert broad[0, 0, 2] == 1.0
