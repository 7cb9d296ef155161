"""The contract of every enhancer as tests to inherit.

    class TestMyModel(LearnedEnhancerContract):
        name = "my_model"

A subclass sets the attributes below where its model differs; pytest runs every `test_*` here
for it. `make()` gives a model with seeded weights. Methods without parameters inherit
`EnhancerContract` alone.
"""

import pytest
import torch
import torch.nn.functional as F

from llie_core.models import Enhancer, create_enhancer, list_darkeners, list_enhancers


class EnhancerContract:
    name: str
    options: dict = {}
    condition: dict = {}  # what `forward` and `enhance` are called with besides the images
    size = (32, 48)  # for forward and training; must be multiples of the model's `multiple`
    tolerance = 1e-5  # batch against single images: summation order only

    def make(self) -> Enhancer:
        torch.manual_seed(0)
        return create_enhancer(self.name, **self.options)

    def images(self, batch: int = 2, size: tuple[int, int] | None = None) -> torch.Tensor:
        """Dark seeded images (B, 3, H, W): noise on a slope, in [0, 1]."""
        height, width = size or self.size
        noise = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
        return 0.1 + 0.4 * torch.linspace(0, 1, width) * noise + 0.1 * noise

    def test_is_listed_and_created(self):
        assert isinstance(self.make(), Enhancer)
        assert self.name in list_enhancers() + list_darkeners()

    def test_forward_keeps_shape_and_type(self):
        x = self.images()
        y = self.make()(x, **self.condition)
        assert y.shape == x.shape and y.dtype == x.dtype
        assert torch.isfinite(y).all()

    def test_training_outputs_hold_the_image(self):
        x = self.images()
        image = self.make().training_outputs(x)["image"]
        assert image.shape == x.shape and torch.isfinite(image).all()

    @pytest.mark.parametrize("size", [(37, 53), (1, 1), (1, 7), (5, 64)])
    def test_enhance_takes_any_size(self, size):
        x = self.images(1, size)
        y = self.make().enhance(x, **self.condition)
        assert y.shape == x.shape and torch.isfinite(y).all()

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_constant_images_stay_finite(self, value):
        y = self.make().enhance(torch.full((1, 3, 16, 16), value), **self.condition)
        assert torch.isfinite(y).all()

    def test_enhance_clamps_without_gradients(self):
        model = self.make()
        x = self.images() * 3 - 0.5
        y = model.enhance(x, **self.condition)
        assert y.min() >= 0 and y.max() <= 1
        assert not y.requires_grad

    def test_enhance_restores_every_training_flag(self):
        model = self.make().train()
        submodules = list(model.modules())[1:]
        if submodules:
            submodules[0].eval()
        before = [module.training for module in model.modules()]
        model.enhance(self.images(), **self.condition)
        assert [module.training for module in model.modules()] == before

    def test_enhance_leaves_weights_buffers_and_input_alone(self):
        model = self.make().train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        x = self.images()
        model.enhance(x, **self.condition)
        assert torch.equal(x, self.images())
        torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)

    def test_batch_equals_single_images(self):
        model = self.make()
        x = self.images(3)
        singles = torch.cat([model.enhance(image[None], **self.condition) for image in x])
        batch = model.enhance(x, **self.condition)
        torch.testing.assert_close(batch, singles, rtol=0, atol=self.tolerance)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_float32(self, dtype):
        model = self.make()
        x = self.images().to(dtype)
        y = model.enhance(x, **self.condition)
        assert y.dtype == torch.float32
        assert torch.equal(y, model.enhance(x.float(), **self.condition))

    @pytest.mark.parametrize(
        "x, error, words",
        [
            (torch.rand(3, 8, 8), ValueError, "(B, 3, H, W)"),
            (torch.rand(1, 1, 8, 8), ValueError, "(1, 1, 8, 8)"),
            (torch.rand(1, 3, 0, 8), ValueError, "(1, 3, 0, 8)"),
            (torch.rand(1, 3, 8, 8) * 255, ValueError, "divide by 255"),
            (torch.ones(1, 3, 8, 8, dtype=torch.uint8), TypeError, "divide by 255"),
            ([[1.0]], TypeError, "list"),
        ],
    )
    def test_bad_input_gets_one_clear_line(self, x, error, words):
        with pytest.raises(error) as caught:
            self.make().enhance(x, **self.condition)
        message = str(caught.value)
        assert words in message and "\n" not in message

    def test_unknown_option_is_named(self):
        with pytest.raises(TypeError, match="no_such_option"):
            create_enhancer(self.name, **self.options, no_such_option=1)

    def test_weights_follow_the_seed(self):
        torch.testing.assert_close(self.make().state_dict(), self.make().state_dict())

    @pytest.mark.gpu
    def test_gpu_agrees_with_cpu(self):
        x = self.images()
        cpu = self.make().enhance(x, **self.condition)
        gpu = self.make().cuda().enhance(x.cuda(), **self.condition)
        assert gpu.device.type == "cuda"
        # Convolutions may use TensorFloat-32 there: ten bits of mantissa.
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=0, atol=2e-3)


class LearnedEnhancerContract(EnhancerContract):
    overfit_steps, overfit_rate, overfit_ratio = 40, 2e-3, 0.5

    def objective(self, model: Enhancer, x: torch.Tensor) -> torch.Tensor:
        """What the overfitting test minimises: distance to a brighter image."""
        return F.mse_loss(model.training_outputs(x)["image"], x.sqrt())

    def test_gradients_reach_input_and_every_parameter(self):
        model = self.make()
        # Layers that start at zero would hide the gradients of those before them.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        x = self.images().requires_grad_()
        (model(x, **self.condition) - 0.7).square().mean().backward()
        assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient"
            assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"
            assert parameter.grad.abs().sum() > 0, f"{name} has a gradient of zero"

    def test_overfits_one_batch(self):
        model, x = self.make().train(), self.images()
        optimizer = torch.optim.Adam(model.parameters(), self.overfit_rate)
        start = self.objective(model, x).item()
        for _ in range(self.overfit_steps):
            optimizer.zero_grad()
            loss = self.objective(model, x)
            loss.backward()
            optimizer.step()
        end = self.objective(model, x).item()
        assert end < self.overfit_ratio * start, f"loss {start:.4g} fell to {end:.4g} only"
