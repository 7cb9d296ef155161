"""bfloat16 autocast: networks stay close to float32, losses and last layers are in float32."""

import pytest
import torch
from read_images import RECOGNIZERS
from seeded import seeded

from llie_core.losses import adversarial, colour, degradation, paired
from llie_core.losses.zero_reference import upstream_loss
from llie_core.models import create_enhancer, list_darkeners, list_enhancers
from llie_core.recognizers import create_recognizer, list_recognizers


def autocast(enabled=True):
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


LOW, TARGET = 0.3 * seeded(2, 3, 32, 48), seeded(2, 3, 32, 48, seed=1)
LEARNED = [
    name
    for name in (*list_enhancers(), *list_darkeners())
    if next(create_enhancer(name).parameters(), None) is not None
]


@torch.no_grad()
def moved_from_zero(model):
    """Layers that start at zero make an image that is the input itself."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    return model


@pytest.mark.parametrize("name", LEARNED)
def test_training_outputs_in_bfloat16_are_float32_and_close(name):
    images = []
    for mixed in (False, True):
        torch.manual_seed(0)
        model = moved_from_zero(create_enhancer(name).train())
        torch.manual_seed(1)
        with autocast(mixed):
            outputs = model.training_outputs(LOW)
        images.append(outputs["image"].detach())
        assert {x.dtype for x in outputs.values()} == {torch.float32}
    assert not torch.equal(*images)
    assert (images[1] - images[0]).square().mean().sqrt() < 0.01


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: paired.jcrnet_loss({"image": x, "ssb_image": x}, {"target": y})["total"],
        lambda x, y: paired.structural_similarity(x, y).mean(),
        lambda x, y: colour.neid_loss({"image": x}, {"target": y})["total"],
        lambda x, y: upstream_loss({"image": x, "curve_maps": x - y}, {"image": y})["total"],
        lambda x, y: degradation.kl_of_images(x, y),
        lambda x, y: degradation.refinement_loss(x, y, paired.structural_similarity)["total"],
        lambda x, y: adversarial.discriminator_loss(x, y),
    ],
    ids=["jcrnet", "ssim", "neid", "upstream", "kl", "refinement", "discriminator"],
)
def test_losses_are_the_same_under_autocast_bit_for_bit(loss):
    found = []
    for mixed in (False, True):
        image = LOW.clone().requires_grad_()
        with autocast(mixed):
            value = loss(image, TARGET)
        value.backward()
        found.append((value.detach(), image.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_every_recognizer_is_held():
    assert set(RECOGNIZERS) == set(list_recognizers())


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_recognizers_losses_in_bfloat16_are_float32_and_close(name):
    options, targets = RECOGNIZERS[name]
    try:
        create_recognizer(name, **options)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    found = []
    for mixed in (False, True):
        torch.manual_seed(0)
        recognizer = create_recognizer(name, **options)
        images = seeded(2, 3, 96, 128).requires_grad_()
        torch.manual_seed(1)
        with autocast(mixed):
            terms = recognizer.loss(images, targets)
        terms["total"].backward()
        assert {term.dtype for term in terms.values()} == {torch.float32}
        found.append((terms["total"].item(), images.grad.flatten()))
    (full, gradient), (mixed, other) = found
    assert mixed != full and mixed == pytest.approx(full, rel=0.02)
    assert torch.cosine_similarity(gradient, other, dim=0) > 0.9
