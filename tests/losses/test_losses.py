"""What holds of every loss: gradients, precision, constant images, batches, shapes, devices."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from seeded import seeded

from llie_core.losses.adversarial import discriminator_loss, generator_adversarial
from llie_core.losses.colour import colour_loss, cosine_distance, huber, neid_loss, rgb_to_hsv
from llie_core.losses.degradation import degradation_loss, kl_of_images, refinement_loss
from llie_core.losses.illumination import sci_loss
from llie_core.losses.paired import charbonnier, edge_loss, jcrnet_loss, structural_similarity
from llie_core.losses.zero_reference import (
    FORMS,
    colour_constancy,
    exposure_control,
    illumination_smoothness,
    spatial_consistency,
    zero_reference_total,
)


@dataclass(frozen=True)
class Loss:
    """A loss of `images` tensors (B, 3, H, W). mean: that of a batch is the mean over its images.
    paired: its two images must have one shape."""

    call: Callable
    images: int = 2
    mean: bool = True
    paired: bool = False

    def __call__(self, *images: torch.Tensor) -> torch.Tensor:
        return self.call(*images).mean()


def total(loss: Callable) -> Callable:
    return lambda *images: loss(*images)["total"]


LOSSES = {
    "huber": Loss(huber, paired=True),
    "hsv": Loss(rgb_to_hsv, images=1),
    "cosine distance": Loss(cosine_distance),
    "colour": Loss(colour_loss, paired=True),
    "colour, circular": Loss(lambda x, y: colour_loss(x, y, "circular"), paired=True),
    "neid": Loss(
        total(lambda x, y: neid_loss({"image": x, "detail": y / 2}, {"image": y, "target": y}))
    ),
    "charbonnier": Loss(charbonnier, paired=True),
    "edge": Loss(edge_loss, paired=True),
    "ssim": Loss(structural_similarity, paired=True),
    "jcrnet": Loss(
        total(lambda x, y: jcrnet_loss({"image": x, "ssb_image": x / 2}, {"target": y}))
    ),
    "illumination": Loss(
        total(lambda x, y: sci_loss({"image": x, "illumination": x, "stage_input": y}, {}))
    ),
    "generator": Loss(generator_adversarial, images=1),
    "discriminator": Loss(discriminator_loss),
    "kl": Loss(kl_of_images, paired=True),
    "degradation": Loss(total(lambda x, y: degradation_loss(x, y, x, y))),
    "refinement": Loss(total(lambda x, y: refinement_loss(x, y, structural_similarity))),
}
for form in FORMS:
    LOSSES |= {
        f"spatial, {form}": Loss(lambda x, y, form=form: spatial_consistency(x, y, form)),
        f"exposure, {form}": Loss(lambda x, form=form: exposure_control(x, form=form, patch=4), 1),
        f"colour constancy, {form}": Loss(lambda x, form=form: colour_constancy(x, form), 1),
        f"smoothness, {form}": Loss(lambda x, form=form: illumination_smoothness(x, form), 1),
        f"zero reference, {form}": Loss(
            total(
                lambda x, y, form=form: zero_reference_total(
                    {"image": x, "curve_maps": y / 2}, y, form=form
                )
            )
        ),
    }
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
# Parts of the colour loss leave its precision to it.
whole = pytest.mark.parametrize("loss", [n for n in LOSSES if n not in ("hsv", "cosine distance")])
paired = pytest.mark.parametrize("loss", [n for n in LOSSES if LOSSES[n].paired])


def images_for(loss: Loss, *shape: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Seeded images in [0.05, 0.95], none equal to another."""
    return [0.05 + 0.9 * seeded(*shape, seed=s, dtype=dtype) for s in range(loss.images)]


@every
def test_gradients_are_those_of_differences(loss):
    images = images_for(loss, 2, 3, 5, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, [image.requires_grad_() for image in images])


@every
def test_finite_on_constant_images_of_any_size(loss):
    values = [(a, b) for a in (-0.5, 0.0, 0.5, 1.0, 1.5) for b in (0.0, 0.5, 1.0)]
    for size in ((32, 32), (5, 3), (1, 1)):
        for pair in values:
            images = [torch.full((2, 3, *size), value) for value in pair[: loss.images]]
            value = loss(*[image.requires_grad_() for image in images])
            value.backward()
            assert torch.isfinite(value)
            assert all(torch.isfinite(i.grad).all() for i in images if i.grad is not None)


@whole
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    loss = LOSSES[loss]
    half = [image.to(dtype) for image in images_for(loss, 2, 3, 40, 40)]
    value = loss(*half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*[image.float() for image in half]))


@every
def test_a_batch_is_the_mean_of_its_images(loss):
    images = images_for(loss, 3, 3, 16, 20, dtype=torch.float64)
    singles = [loss(*[image[i : i + 1] for image in images]) for i in range(3)]
    torch.testing.assert_close(loss(*images), torch.stack(singles).mean())


@paired
def test_other_shapes_are_refused_and_not_broadcast(loss):
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 8, 8\) and \(1, 3, 8, 8\)"):
        LOSSES[loss](torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8))


@pytest.mark.gpu
@every
def test_values_on_the_gpu_are_those_on_the_cpu(loss):
    images = images_for(loss, 2, 3, 33, 47)
    value = loss(*[image.cuda() for image in images])
    assert value.is_cuda
    torch.testing.assert_close(value.cpu(), loss(*images), rtol=1e-3, atol=1e-4)
