"""Options and targets of every recognizer, for two images of 96×128."""

import torch
from seeded import seeded

FACE = torch.tensor([[83.0, 51.0, 173.0, 164.0]])  # of tests/recognizers' astronaut
FACES = [{"boxes": torch.tensor([[8.0, 6, 60, 70]])}, {"boxes": torch.zeros(0, 4)}]
OBJECTS = [
    {"boxes": torch.tensor([[8.0, 6, 60, 70], [30, 20, 50, 50]]), "labels": torch.tensor([1, 2])},
    {"boxes": torch.tensor([[10.0, 10, 40, 60]]), "labels": torch.tensor([3])},
]
SALIENT = (seeded(2, 1, 96, 128) > 0.5).float()
JOINTS = torch.cat([90 * seeded(2, 14, 2), torch.full((2, 14, 1), 2.0)], -1)
RECOGNIZERS = {  # options, targets of two images of 96×128
    "classifier": ({}, torch.tensor([3, 7])),
    "cpn": ({"joints": 14, "backbone": "tiny"}, {"joints": JOINTS}),
    "deeplabv3plus": ({"classes": 11}, (seeded(2, 96, 128) * 11).long()),
    "light_detector": ({}, OBJECTS),
    "mtcnn": ({}, FACES),
    "retinaface": ({}, FACES),
    "saliency_net": ({"size": 64}, SALIENT),
    "ssdlite": ({}, FACES),
    "tinaface": ({"backbone": "small"}, FACES),
    "vst": ({}, SALIENT),
    "yolov4": ({"test_size": 96}, OBJECTS),
}
