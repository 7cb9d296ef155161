"""Adding a method is one file and one line of the registry; adding a paper is one folder and one
notebook. Both are done here on a copy of the package, and run."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest
from tiny import TINY

ROOT = Path(__file__).parents[1]

GAMMA_NET = '''
"""Brightens by a power that is learned, a channel each."""

import torch
from torch import Tensor, nn

from llie_core.models.base import Enhancer


class GammaNet(Enhancer):
    def __init__(self):
        super().__init__()
        self.power = nn.Parameter(torch.full((3, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(1e-4) ** self.power
'''
L1 = '''
"""Twice the mean absolute difference."""


def doubled(outputs, batch):
    l1 = (outputs["image"] - batch["target"]).abs().mean()
    return {"total": 2 * l1, "l1": l1}
'''
LINE = """    ModelSpec(
        "gamma_net", "GammaNet", "gamma_net:GammaNet", loss="llie_core.losses.l1:doubled"
    ),
"""

EVALUATE = """
import json, sys
from safetensors.torch import save_file
from llie_core.models import create_enhancer
from llie_core.papers import list_papers, open_study

save_file(create_enhancer("gamma_net").state_dict(), "gamma_net.safetensors")
found, tiny = {}, json.loads(sys.argv[1])
for paper in list_papers():
    released = {"gamma_net": "gamma_net.safetensors"}
    study = open_study(paper, "smoke", released=released, **tiny.get(paper, {}))
    scores = study.evaluate(study.row("gamma_net"), test_sets=study.test_sets()[:1])
    found[paper] = [sorted({s.weights for s in scores}), sorted({s.metric for s in scores})]
print(json.dumps(found))
"""

TRAIN = """
import json, sys
from llie_core.papers import list_papers, open_study

found, tiny = {}, json.loads(sys.argv[1])
for paper in list_papers():
    study = open_study(paper, "smoke", methods=["gamma_net"], seeds=[0, 1], **tiny.get(paper, {}))
    rows = [row for row in study.rows() if row.label == "gamma_net"]
    by_name = open_study(paper, "smoke", **tiny.get(paper, {})).row("gamma_net")
    assert [row.seed for row in rows] == [0, 1] and study.is_given(rows[0])
    assert study.run(rows[0]) == study.run(by_name) and study.main_row().label != "gamma_net"
    assert rows[0].shown == "GammaNet" == study.row_titles["gamma_net"]
    (run,) = study.train(rows[0], quiet=True)
    scores = study.evaluate(rows[0], test_sets=study.test_sets()[:1])
    weights = sorted({s.weights for s in scores})
    found[paper] = [weights, sorted(run.read_log()[0])]
print(json.dumps(found))
"""

TOY_STUDY = '''
"""A sixth paper: a gain, trained by the loss of a frozen segmentation network."""

from dataclasses import dataclass
from functools import cached_property, partial

from llie_core.data import collate, open_dataset
from llie_core.data.segmentation import CITYSCAPES_CLASSES
from llie_core.engine.loop import Experiment, TrainSettings
from llie_core.losses.task_driven import TaskLoss
from llie_core.papers.rows import Row, Trained
from llie_core.papers.study import Study, StudySettings, TestSet
from llie_core.tasks.segmentation import Segmentation


@dataclass(frozen=True)
class ToySettings(StudySettings):
    train: TrainSettings = TrainSettings(steps=2, batch_size=2)
    recognizer: TrainSettings = TrainSettings(steps=2, batch_size=2)
    images: int = 4


def masks(batch):
    return batch["mask"]


def smoke(dataset: str) -> ToySettings:
    return ToySettings(dataset, "smoke")


class ToyStudy(Study):
    title = "A gain before a frozen recognizer"
    question = "Does a gain help a recognizer?"
    datasets = ("builtin-streets",)
    profiles = {"smoke": smoke, "quick": smoke, "paper": smoke}
    settings: ToySettings

    def images(self, split: str, light: str):
        return open_dataset("builtin-streets", split, size=(64, 96), count=self.settings.images,
                            light=light)

    @cached_property
    def recognizer(self) -> Row:
        return Row("deeplabv3plus", "deeplabv3plus", {"classes": 19},
                   Trained(self.recognizer_training, {"train": self.settings.recognizer}))

    def recognizer_training(self, row: Row) -> Experiment:
        model = row.build()
        return Experiment(model, TaskLoss(model, masks), self.images("train", "day"), collate,
                          self.settings.recognizer)

    def gain_training(self, row: Row, recognizer) -> Experiment:
        return Experiment(row.build(), TaskLoss(recognizer, masks), self.images("train", "night"),
                          collate, self.settings.train, row.seed)

    def rows(self) -> list[Row]:
        trained = Trained(self.gain_training, {"train": self.settings.train})
        gains = [Row("gem_pam+w/o PAM", "gem_pam", {"modules": "gem"}, trained, seed,
                     needs=(self.recognizer,)) for seed in self.settings.seeds]
        return [Row("identity", "identity"), Row("gamma", "gamma"), *self.given_rows(), *gains]

    def test_sets(self) -> list[TestSet]:
        task = partial(Segmentation, classes=CITYSCAPES_CLASSES)
        return [TestSet("builtin-streets", self.images("test", "night"), task,
                        needs=(self.recognizer,), kind="segmentation")]

    def is_papers_own(self) -> bool:
        return False

    def headline(self, scores) -> str:
        return f"{len(scores)} scores"
'''
TOY_CLAIMS = """
number = 6

[[claim]]
id = "6.01"
place = "Abstract"
line = 1
says = "A gain helps."
kind = "order"

[claim.check]
high = "gem_pam+w/o PAM"
low = "identity"
metric = "miou"
"""
TOY_CELLS = [
    'dataset = "builtin-streets"\nprofile = "smoke"\nseeds = [0]\ndata = ""\nsettings = {}',
    "from llie_core.papers import judging, open_study\n"
    "from llie_core.reporting import tables\n"
    "study = open_study('toy', profile, dataset, seeds=seeds, data=data, **settings)\n"
    "study.train()\n"
    "scores = study.evaluate()\n"
    "tables.score_table(scores, [('miou', 'all')], 'mIoU')",
    "verdicts = judging.verdicts(study, scores)\n"
    "study.record(scores, verdicts)\n"
    "tables.claims_table(verdicts)",
]
PUBLISHED = "table,row,column,title,header,method,variant,recognizer,dataset,split,subset,metric,"
PUBLISHED += "unit,direction,value,printed,status,note\n"
PUBLISHED += "1,0,0,Ours,mIoU,gem_pam,w/o PAM,deeplabv3plus,,test,all,miou,fraction,higher,0.5,.5,"
PUBLISHED += "printed,\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package and the notebooks, to which something is added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("llie_core", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def python(checkout, *arguments):
    """Run Python in the copy; returns what it prints."""
    env = dict(os.environ, PYTHONPATH=str(checkout), LLIE_RESULTS=str(checkout / "results"),
               LLIE_REPORTS=str(checkout / "reports"))  # fmt: skip
    done = subprocess.run([sys.executable, *arguments], cwd=checkout, env=env, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def with_method(checkout):
    """The same with a network of one's own and its loss: two files and one line."""
    models = checkout / "llie_core" / "models"
    assert "gamma_net" not in (models / "__init__.py").read_text()
    (models.parent / "losses" / "l1.py").write_text(L1)
    (models / "gamma_net.py").write_text(GAMMA_NET)
    registry = (models / "__init__.py").read_text()
    last = '    ModelSpec("neid", "NEID", "neid:NEID"),\n'
    assert registry.count(last) == 1
    (models / "__init__.py").write_text(registry.replace(last, last + LINE))
    return checkout


def test_a_method_is_one_file_and_one_line(with_method):
    found = json.loads(python(with_method, "-c", EVALUATE, json.dumps(TINY)).splitlines()[-1])
    assert set(found) == {"recognition", "joint", "jcrnet", "drgn", "neid"}
    for weights, metrics in found.values():
        assert weights == ["released"] and metrics


def test_a_method_with_parameters_is_trained_in_every_study(with_method):
    found = json.loads(python(with_method, "-c", TRAIN, json.dumps(TINY)).splitlines()[-1])
    assert set(found) == {"recognition", "joint", "jcrnet", "drgn", "neid"}
    assert all(weights == ["trained here"] for weights, _ in found.values())
    # By its own loss on pairs, by the frozen recognizer's elsewhere.
    own = {paper for paper, (_, logged) in found.items() if "l1" in logged}
    assert own == {"jcrnet", "drgn", "neid"}


def test_a_paper_is_one_folder_and_one_notebook(checkout):
    folder = checkout / "llie_core" / "papers" / "toy"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "study.py").write_text(TOY_STUDY)
    (folder / "claims.toml").write_text(TOY_CLAIMS)
    (folder / "published.csv").write_text(PUBLISHED)
    cells = [nbformat.v4.new_code_cell(source) for source in TOY_CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, checkout / "notebooks" / "toy.ipynb")
    written = TOY_STUDY + TOY_CLAIMS + "\n".join(TOY_CELLS)
    assert len(textwrap.dedent(written).strip().splitlines()) <= 150
    (checkout / "parameters.yml").write_text(
        'dataset: builtin-streets\nprofile: smoke\nseeds: [0]\ndata: ""\nsettings: {}\n'
    )
    python(checkout, "-m", "llie_core.cli", "report", "toy", "--parameters", "parameters.yml")
    page = (checkout / "reports" / "toy-builtin-streets-smoke.html").read_text()
    assert "GEM+PAM without PAM" in page and "A gain helps." in page
    assert "toy" in python(
        checkout, "-c", "from llie_core.papers import list_papers as l; print(l())"
    )
