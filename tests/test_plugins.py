"""Enhancers of other packages: built in a folder of their own, found, run everywhere, refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TINY

from llie_core.data.images import write_image
from llie_core.models import list_enhancers
from llie_core.recognizers import list_recognizers

ROOT = Path(__file__).parents[1]
# As docs/USE.md has it.
METHOD = """
from llie_core.models import Enhancer


class Brighter(Enhancer):
    def forward(self, x):  # (B, 3, H, W) RGB in [0, 1] → the same size
        return x**0.4
"""
NETWORK = """
import torch
from my_package.layers import head
from . import parts
from llie_core.models import Enhancer


class Gain(Enhancer):
    def __init__(self):
        super().__init__()
        self.head = head()

    def forward(self, x):
        return x * (1 + parts.positive(self.head(x)))


def l1_loss(outputs, batch):
    l1 = (outputs["image"] - batch["target"]).abs().mean()
    return {"total": 2 * l1, "l1": l1}
"""
ENTRY_POINTS = """[llie.enhancers]
brighter = my_method:Brighter
gain = my_package.net:Gain
[llie.losses]
gain = my_package.net:l1_loss
"""
BROKEN = """[llie.enhancers]
absent = no_such_module:Method
crash = crashing:Method
plain = plain:Method
lime = my_method:Brighter
mtcnn = my_method:Brighter
brighter = my_method:Brighter
bad name = my_method:Brighter
pathless = my_method
"""


def package(folder, name, entry_points):
    info = folder / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages: one with two methods."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my_method.py").write_text(METHOD)
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").write_text("")
    (folder / "my_package" / "net.py").write_text(NETWORK)
    (folder / "my_package" / "parts.py").write_text("def positive(x):\n    return x.relu()\n")
    layers = "from torch import nn\n\n\ndef head():\n    return nn.Conv2d(3, 3, 3, padding=1)\n"
    (folder / "my_package" / "layers.py").write_text(layers)
    package(folder, "my-method", ENTRY_POINTS)
    return folder


@pytest.fixture
def python(site, tmp_path):
    """python(*arguments): run Python with these packages; (exit code, stdout, stderr)."""

    def run(*arguments, also=()):
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, [site, *also, ROOT])),
            "LLIE_RESULTS": str(tmp_path / "results"),
        }
        done = subprocess.run([sys.executable, *map(str, arguments)], cwd=tmp_path, env=env,
                              text=True, capture_output=True, check=False)  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def llie(*arguments):
    return ("-m", "llie_core.cli", *arguments)


def test_a_method_is_found_by_its_metadata_and_enhances(python, site, tmp_path):
    import torch

    write_image(tmp_path / "a.png", torch.full((3, 8, 9), 0.2))
    code, out, err = python(*llie("enhance", "a.png", "--model", "brighter", "--no-gate"))
    assert (code, out, err) == (0, "a-enhanced.png: brighter\n", "")
    statement = "import sys, llie_core.models as m; print(*m.list_enhancers(), *sys.modules)"
    code, out, _ = python("-c", statement)
    names = out.split()
    assert "brighter" in names and "gain" in names
    assert "my_method" not in names and "my_package" not in names  # imported when asked for


EVALUATE = """
import json, sys
from llie_core.papers import list_papers, open_study

tiny, found = json.loads(sys.argv[1]), {}
for paper in list_papers():
    study = open_study(paper, "smoke", methods=["brighter", "lime", "lime"], **tiny.get(paper, {}))
    assert [row.label for row in study.rows()].count("lime") == 1
    assert study.is_given(study.row("brighter")) and not study.is_given(study.main_row())
    scores = study.evaluate(study.row("brighter"), test_sets=study.test_sets()[:1])
    found[paper] = [sorted({s.weights for s in scores}), len(scores)]
print(json.dumps(found))
"""


def test_a_method_is_a_row_of_every_study(python):
    code, out, err = python("-c", EVALUATE, json.dumps(TINY))
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert set(found) == {"recognition", "joint", "jcrnet", "drgn", "neid"}
    assert all(weights == ["none"] and count for weights, count in found.values())


def test_a_network_is_trained_as_a_row_and_runs_with_its_weights(python, tmp_path):
    import torch

    fit = llie("fit", "neid", "--profile", "smoke", "--row")
    code, out, err = python(*fit, "gain")
    assert code == 0 and "psnr" in out, err
    (weights,) = (tmp_path / "results").rglob("weights.safetensors")
    assert "l1" in weights.with_name("log.csv").read_text().splitlines()[0].split(",")
    write_image(tmp_path / "a.png", torch.full((3, 8, 9), 0.2))
    assert python(*llie("enhance", "a.png", "--model", "gain", "--weights", weights))[0] == 0
    code, _, err = python(*llie("enhance", "a.png", "--model", "gain", "--overwrite"))
    assert code == 2 and err.startswith("llie: gain needs --weights:")
    code, _, err = python(*fit, "brighter")
    assert code == 2 and "brighter has no parameters to train; put it into `methods`" in err


CODE = """
from pathlib import Path
from llie_core.engine import reuse
from llie_core.models import create_enhancer

for name, path in (("brighter", "my_method.py"), ("gain", "my_package/parts.py"),
                   ("gain", "my_package/layers.py")):
    model, file = create_enhancer(name), SITE / path
    before, text = reuse.code(model), file.read_text()
    file.write_text(text + "\\nchanged = 1\\n")
    reuse.forget_sources()
    assert reuse.code(model) != before, path
    file.write_text(text + "# a comment\\n")
    reuse.forget_sources()
    assert reuse.code(model) == before, path
print(*reuse.modules_behind(create_enhancer("gain")))
"""


def test_the_code_of_a_method_is_in_the_hashes(python, site):
    code, out, err = python("-c", CODE.replace("SITE", f"Path({str(site)!r})"))
    assert code == 0, err
    own = [name for name in out.split() if name.startswith("my_")]
    assert own == ["my_package", "my_package.layers", "my_package.net", "my_package.parts"]


def test_what_is_no_method_is_refused_in_a_line_and_stops_nothing(python, tmp_path):
    also = tmp_path / "also"
    also.mkdir()
    (also / "crashing.py").write_text("raise RuntimeError('no GPU here\\nand more')\n")
    (also / "plain.py").write_text("class Method:\n    pass\n")
    package(also, "z-broken", BROKEN)
    code, out, err = python(*llie("models"), also=[also])
    assert code == 0 and "brighter" in out and "plug-in of my-method" in out
    listed = {line.strip("* ").split(" ")[0] for line in out.splitlines()}
    assert {*list_enhancers(), *list_recognizers(), "gain"} <= listed
    said = "llie: llie.enhancers: {} of z-broken is left out: {}".format
    failed = "llie: {0}, plug-in of z-broken, fails: {1}".format
    assert sorted(err.splitlines()) == sorted(
        [
            said("bad name", "a name has letters, digits, _, - and ."),
            said("brighter", "my-method has an enhancer of that name"),
            said("lime", "the name is taken by the project"),
            said("mtcnn", "the name is taken by the project"),
            said("pathless", "'my_method' is not MODULE:CLASS"),
            failed("absent", "ModuleNotFoundError: No module named 'no_such_module'"),
            failed("crash", "RuntimeError: no GPU here"),
            failed("plain", "TypeError: plain:Method makes no llie_core.models.Enhancer"),
        ]
    )


def test_the_documentation_shows_this_method():
    page = (ROOT / "docs" / "USE.md").read_text()
    assert METHOD.strip() in page and 'brighter = "my_method:Brighter"' in page
