"""DeepLabV3+ for semantic segmentation, through segmentation-models-pytorch.

"Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", L.-C. Chen,
Y. Zhu, G. Papandreou, F. Schroff, H. Adam, ECCV 2018; the segmentation recognizer of paper 1.

Differs from the paper: its tables give DeepLabV3+ 5.2 M parameters (MobileNetV2 without its last
convolution and a dense atrous pyramid, 19 classes: 5,225,203). The library's model has a separable
pyramid and 4,383,139. The encoder `efficientnet_lite0`, which starts from ImageNet, is ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.imaging import check_images, check_shapes, full_precision
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.classifier import (
    BACKBONE,
    MEAN,
    NETWORK,
    STD,
    load_imagenet_weights,
)
from llie_core.tensors import read_released

IGNORED = 255
STRIDE = 16  # sizes are padded to a multiple of it


class DeepLabV3Plus(Recognizer):
    """Segmentation of images (B, 3, H, W) in [0, 1], of any size, into `classes` classes.

    Args:
        classes: number of classes (19: Cityscapes' train ids; 11: CamVid).
        encoder: any encoder name of segmentation-models-pytorch, whose weights start at random, or
            "efficientnet_lite0", which starts with ImageNet's (see classifier.py).
    """

    def __init__(self, frozen: bool = True, classes: int = 19, encoder: str = "mobilenet_v2"):
        super().__init__()
        self.classes = classes
        pretrained = encoder == BACKBONE
        self.network = _library_model(f"tu-{NETWORK}" if pretrained else encoder, classes)
        if pretrained:
            load_imagenet_weights(self.network.encoder.model)
            self.hold_statistics(MEAN, STD)
        else:
            self.hold_statistics()
        if frozen:
            self.freeze()

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, classes, H, W); borders are repeated up to a multiple of 16."""
        height, width = images.shape[-2:]
        x = (images - self.mean) / self.std
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        return full_precision(self.network(x))[..., :height, :width]

    def loss(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy: the mean over all labelled pixels of the batch, 0 where none is labelled.

        targets: (B, H, W) int64 class ids, 255 ignored.
        """
        check_shapes("DeepLabV3Plus.loss", images=images)
        summed = F.cross_entropy(
            self.logits(images), targets, ignore_index=IGNORED, reduction="sum"
        )
        labelled = (targets != IGNORED).sum().clamp(min=1)
        return {"total": summed / labelled}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → the likeliest class of every pixel, (B, H, W) int64."""
        check_images("DeepLabV3Plus.predict", images=images)
        return self.logits(images).argmax(dim=1)

    def load_released_weights(self, path) -> None:
        """Load a checkpoint of the library's DeepLabV3Plus (state dict or safetensors).

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, or other names or shapes than this model's.
        """
        state = read_released(path, self.network.state_dict(), safetensors=True)
        self.network.load_state_dict(state)


def _library_model(encoder: str, classes: int):
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise ImportError(
            "deeplabv3plus needs segmentation-models-pytorch: pip install "
            "segmentation-models-pytorch (`make env` does)"
        ) from error
    try:
        return smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=classes)
    except KeyError as error:
        raise ValueError(f"deeplabv3plus: {str(error).strip(chr(34))}") from error
