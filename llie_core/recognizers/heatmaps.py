r"""Heat maps of joints as CPN uses them: targets, loss, and the places they stand for.

Y. Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018, in the form
that S. Lee et al. released with ExLPose (CVPR 2023). A map has a cell per 4×4 pixels.

Kernels, of targets and of decoding, are those of the released code on its map of 64×48 cells; on a
map of h×w they are times √(hw / (64·48)).

Differs from the paper:
- The released target is OpenCV's blur of one cell. Here it is the Gaussian itself, cut where that
  kernel ends: OpenCV tabulates the kernels of 7 and 9 (they differ by less than 0.03 of the peak),
  and it mirrors tails at the map's edge, which moves the peak of a joint one cell from the edge.
- The released search for peaks may leave the map, and it divides by the map's maximum even where
  that is negative; here peaks are sought on the map, as it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4  # pixels a cell of the heat maps
PEAK = 255.0
GLOBAL_KERNELS = (15, 11, 9, 7)  # coarsest level first
REFINED_KERNEL = 7
HARD_JOINTS = 8  # OHKM: joints a person that count on the refined map
DECODING_KERNEL = 21
REFERENCE_CELLS = 64 * 48


def pose_loss(global_maps: list[Tensor], refined: Tensor, joints: Tensor) -> dict[str, Tensor]:
    r"""CPN's loss on heat maps.

    .. math:: L = \sum_{l=1}^{4} \frac{1}{2} \mathrm{mean}\, (G_l - G_l^*)^2
              + \frac{1}{B} \sum_b \frac{1}{8} \sum_{j \in \mathrm{top}_8(b)}
                \mathrm{mean}\, (R_{bj} - R^*_{bj})^2

    Squares are averaged over the map's cells and, in the first sum, over persons and joints: the
    loss does not grow with the batch or with the maps. Visibility is read as the released code
    does: a joint labelled 2 has its peak in all targets; one labelled 1 (hidden) has it in the
    refined target, and empty global ones; one labelled 0 has empty global targets, and its
    refined error is 0. top₈ are a person's eight largest errors (OHKM), zeros among them.

    Args:
        global_maps, refined: G coarsest first and R, each (B, J, h, w), 255 at a joint.
        joints: (B, J, 3) x, y in pixels of the image, and visibility.

    Returns:
        `total`, and `global` and `refined`, the two sums; scalars.
    """
    places, labels, size = joints[..., :2], joints[..., 2], refined.shape[2:]
    visible = (labels > 1)[..., None, None]
    global_loss = sum(
        F.mse_loss(maps, (target_maps(places, size, kernel) * visible).to(maps)) / 2
        for maps, kernel in zip(global_maps, GLOBAL_KERNELS, strict=True)
    )
    target = target_maps(places, size, REFINED_KERNEL).to(refined)
    errors = F.mse_loss(refined, target, reduction="none").mean((2, 3))  # (B, J)
    refined_loss = hard_joints(errors * (labels > 0))
    total = global_loss + refined_loss
    return {"total": total, "global": global_loss, "refined": refined_loss}


def target_maps(places: Tensor, size: tuple[int, int], kernel: int) -> Tensor:
    r"""Target maps (B, J, h, w) with a Gaussian at the cell of each joint.

    .. math:: 255 \exp(-\frac{d^2}{2 (s \sigma)^2}),\quad \sigma = 0.15 k + 0.35

    OpenCV's σ for a kernel of k cells (2.6, 2, 1.7, 1.4 for 15, 11, 9, 7); 0 where |dx| or |dy|
    exceeds s·⌊k/2⌋. s = √(hw / (64·48)).

    Args:
        places: (B, J, 2) x, y in pixels; its cell is ⌊x / 4⌋. Joints outside have empty maps.
        size: (h, w) of the map.
        kernel: k.
    """
    scale, sigma = _scale(size), _sigma(kernel)
    cells = (places / STRIDE).floor()  # (B, J, 2)

    def bell(cell: Tensor, length: int) -> Tensor:
        d = torch.arange(length, device=cell.device) - cell[..., None]  # (B, J, length)
        bell = torch.exp(-0.5 * (d / (sigma * scale)) ** 2) * (d.abs() <= scale * (kernel // 2))
        return bell * ((cell >= 0) & (cell < length))[..., None]

    x, y = bell(cells[..., 0], size[1]), bell(cells[..., 1], size[0])
    return PEAK * y[..., :, None] * x[..., None, :]


def hard_joints(errors: Tensor) -> Tensor:
    """OHKM: the mean of each person's eight largest errors (B, J), and of that over persons."""
    return errors.topk(min(HARD_JOINTS, errors.shape[1]), dim=1).values.mean()


def decode(maps: Tensor, blur: int = DECODING_KERNEL) -> Tensor:
    """Joints (B, J, 3) of heat maps: x, y in pixels of the image and a score.

    The place is the highest cell of the blurred map, a quarter of a cell towards the second
    highest; cell c lies at pixel 4c + 2. The score is the map's own value there / 255 + 0.5.

    Args:
        maps: (B, J, h, w), 255 at a joint.
        blur: kernel of the Gaussian on a map of 64×48 cells; 0 for none.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # half cannot hold quarters
    height, width = maps.shape[2:]
    flat = (_blurred(maps, blur) if blur else maps).flatten(2)  # (B, J, hw)
    best = flat.argmax(2, keepdim=True)  # (B, J, 1)
    second = flat.scatter(2, best, -torch.inf).argmax(2, keepdim=True)
    first, towards = (torch.cat([i % width, i // width], 2).to(maps) for i in (best, second))
    step = towards - first
    step = step / step.norm(dim=2, keepdim=True).clamp(min=1)  # cells are at least 1 apart
    limit = first.new_tensor([width - 1, height - 1])
    cell = torch.minimum((first + 0.25 * step).clamp(min=0), limit)
    score = maps.flatten(2).gather(2, best) / PEAK + 0.5
    return torch.cat([STRIDE * cell + STRIDE / 2, score], 2)


def inside_only(joints: Tensor, size: tuple[int, int]) -> Tensor:
    """Joints (B, J, 3), those outside the image (or nowhere: NaN) as not labelled, at −1, −1."""
    x, y, labels = joints.unbind(2)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0]) & (labels > 0)
    return joints.where(inside[..., None], joints.new_tensor([-1.0, -1.0, 0.0]))


def _scale(size: tuple[int, int]) -> float:
    """How much larger than 64×48 cells a map is, as a length."""
    return (size[0] * size[1] / REFERENCE_CELLS) ** 0.5


def _sigma(kernel: int) -> float:
    """The σ that OpenCV takes for a kernel of so many cells."""
    return 0.3 * ((kernel - 1) / 2 - 1) + 0.8


def _blurred(maps: Tensor, kernel: int) -> Tensor:
    """Gaussian blur of maps (B, J, h, w), zero around them."""
    scale = _scale(maps.shape[2:])
    radius = max(1, round(scale * (kernel // 2)))
    d = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-0.5 * (d / (_sigma(kernel) * scale)) ** 2)
    weights = weights / weights.sum()
    rows = F.conv2d(maps.flatten(0, 1)[:, None], weights[None, None, :, None], padding=(radius, 0))
    return F.conv2d(rows, weights[None, None, None, :], padding=(0, radius)).view_as(maps)
