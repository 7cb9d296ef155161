"""`llie models`, `score`, `weights`, `export-model`: what there is, and numbers of given images."""

import json
import sys
import tempfile
from pathlib import Path

from llie_core.cli.arguments import path, weights_name
from llie_core.files import problem_of


def add(commands) -> None:
    models = commands.add_parser("models", help="list enhancers, darkeners and recognizers")
    models.add_argument(
        "--rivals", action="store_true",
        help="learned methods of the papers' tables: where their code and weights are",
    )  # fmt: skip
    models.set_defaults(run=_models)
    export = commands.add_parser(
        "export-model", help="write a network as an ONNX file, checked against PyTorch"
    )
    export.add_argument("model", metavar="NAME", help="see llie models")
    export.add_argument("file", type=path, metavar="FILE.onnx")
    export.add_argument("--weights", type=weights_name, help="as of llie enhance")
    export.add_argument(
        "--int8", action="store_true",
        help="convolutions in 8 bits; needs --data: 15 images held out of our485 give the ranges",
    )  # fmt: skip
    export.add_argument("--data", type=path, help="folder of LOL: scores the file on eval15")
    export.set_defaults(run=_export)
    score = commands.add_parser("score", help="one output under every protocol, side by side")
    score.add_argument("a", type=path, metavar="A", help="image or folder to score")
    score.add_argument(
        "b",
        type=path,
        metavar="B",
        nargs="?",
        help="its reference: image or folder; without one, NIQE and the like",
    )
    score.add_argument("--low", type=path, help="A before enhancement: image or folder (for LOE)")
    score.add_argument("--json", action="store_true", help="protocol, value, unit, n, note")
    score.set_defaults(run=_score)
    weights = commands.add_parser("weights", help="files of weights: none is fetched unasked")
    weights.add_argument(
        "action", choices=("list", "fetch", "verify"), nargs="?", default="list",
        help="list (default) sources, terms and hashes; fetch from the source; verify the hashes",
    )  # fmt: skip
    weights.add_argument("names", nargs="*", metavar="NAME", help="which; fetch also takes 'all'")
    weights.set_defaults(run=_weights)


def _models(options) -> int:
    if options.rivals:
        print("\n".join(_rivals()))
        return 0
    from llie_core.models import list_darkeners, list_enhancers, model_spec
    from llie_core.models.records import default_enhancer
    from llie_core.recognizers import list_recognizers

    default, _ = default_enhancer()
    for kind, names in (("enhancers", list_enhancers()), ("darkeners", list_darkeners())):
        print(f"{kind:<22} {'parameters':>10} {'GMAC':>7} {'LOL':>6} {'self':>5}  ONNX")
        for name in names:
            try:
                print(*_model(model_spec(name), "*" if name == default else " "), sep="\n    ")
            except Exception as error:
                if not model_spec(name).package:
                    raise
                print(f"llie: {problem_of(name, error)}", file=sys.stderr)
    print("recognizers\n  " + "\n  ".join(list_recognizers()))
    print(
        "* the default of llie enhance. GMAC: at 512×1024. LOL: PSNR on eval15 in dB, with the "
        "gate.\nself: PSNR of normal-light photographs to themselves in dB. docs/DEFAULT.md has "
        "the protocol."
    )
    return 0


def _model(spec, mark: str) -> list[str]:
    """The line of a model, and those of its weights."""
    from llie_core.models import create_enhancer
    from llie_core.models.records import measured, spoiling

    model, numbers = create_enhancer(spec.name), f"{'–':>6} {'–':>5}"
    if not model.learned and (known := measured(spec.name, "")):
        numbers = f"{known.psnr:>6.2f} {known.change:>5.1f}"
    onnx = f"no: {model.exports}" if model.exports else "yes"
    line = f"{mark} {spec.name:<20} {_cost(model)} {numbers}  {onnx}"
    of = [f"plug-in of {spec.package}"] if spec.package else []
    if not model.learned and (spoilt := spoiling(spec.name, "")):
        of.append(f"spoils photographs: {spoilt}")
    return [line, *of, *_weights_of(spec)]


def _rivals() -> list[str]:
    """Rivals that are built here, with their authors' weights, and those that are not."""
    from llie_core.models import MODELS
    from llie_core.models.records import rivals
    from llie_core.weights import weights_table

    lines = []
    for spec in (spec for spec in MODELS.values() if spec.released):
        weight = weights_table()[spec.released]
        lines += [
            f"{spec.title}: built here, --model {spec.name} --weights released",
            f"    code     {weight.repository} @ {weight.commit[:7]}",
            f"    weights  llie weights fetch {spec.released}",
            f"    terms    {weight.licence}",
        ]
    here = {
        "checkpoint": "--checkpoint FILE, or setting released: {NAME: FILE} (needs spandrel)",
        "images": "by a folder of its images: llie compare … FOLDER --data SET, setting external",
    }
    for rival in rivals():
        lines += [
            f"{rival.title}: {here[rival.by]}",
            f"    code     {rival.code}",
            f"    weights  {rival.weights}",
            f"    terms    {rival.terms}",
            *([f"    images   {rival.images}"] if rival.images else []),
        ]
    return lines


def _cost(model) -> str:
    """Parameters and GMAC of a model."""
    from llie_core.metrics.cost import count_macs, count_parameters

    try:
        macs = count_macs(model, (512, 1024)).macs
    except ValueError:  # its path depends on values, which the meta device has not
        macs = None
    return f"{count_parameters(model):>10,} {'–' if macs is None else f'{macs / 1e9:.2f}':>7}"


def _weights_of(spec) -> list[str]:
    """A line for each kind of weights that can be named: terms, steps, numbers, verdict."""
    from llie_core.models.records import measured, reference_run, spoiling
    from llie_core.weights import verify, weights_table

    lines = []
    if spec.reference:
        try:
            run = reference_run(spec.reference)
            about = f"{_terms(spec, run.dataset)}, {run.steps:,} of {run.planned:,} steps"
        except FileNotFoundError:
            about = "not available: they come with a checkout of the project"
        lines.append(("reference", about))
    if spec.released:
        terms = weights_table()[spec.released].licence
        state = verify([spec.released])[spec.released]
        fetch = "" if state == "verified" else f"; llie weights fetch {spec.released}"
        lines.append(("released", f"{terms}{fetch}"))
    said = []
    for kind, about in lines:
        known = measured(spec.name, kind)
        numbers = f"; LOL {known.psnr:.2f} dB, self {known.change:.1f} dB" if known else ""
        verdict = f"; spoils photographs: {how}" if (how := spoiling(spec.name, kind)) else ""
        said.append(f"{kind}: {about}{numbers}{verdict}")
    return said


def _terms(spec, dataset: str) -> str:
    """The sets that a model's reference weights were trained on, and the terms of each."""
    from llie_core.data.registry import dataset_spec

    names = (dataset, *spec.reference_also)
    return ", ".join(f"{name} ({dataset_spec(name).terms})" for name in names)


def _export(options) -> int:
    from llie_core.cli.image_files import trained_model
    from llie_core.data import open_dataset
    from llie_core.export import export_onnx, quantize, score_files

    if options.file.suffix.lower() != ".onnx" or options.file.is_dir():
        raise ValueError(f"{options.file}: name a file that ends in .onnx")
    if options.int8 and not options.data:
        raise ValueError("--int8 needs --data, the folder of LOL: its images give the ranges")
    if options.data:
        open_dataset("lol", "test", options.data)  # before the work
    model, _, weights = trained_model(options.model, options.weights, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "float32.onnx") if options.int8 else options.file
        done = export_onnx(model, whole, _metadata(options.model, weights))
        if options.int8:
            quantize(whole, options.file, (low for low, _ in _pairs("val", options.data)))
        sizes = ", ".join(f"{width}×{height}" for height, width in done.sizes)
        print(
            f"{options.file}: H and W multiples of {done.multiple}; differs from PyTorch by "
            f"{done.difference:.1g} at most ({sizes}){', before int8' if options.int8 else ''}"
        )
        if options.data:
            paths = list(dict.fromkeys((whole, options.file)))
            scores = score_files(paths, _pairs("test", options.data))
            for file, score in zip(paths, scores, strict=True):
                precision = "int8" if options.int8 and file == options.file else "float32"
                print(
                    f"{precision}: {score.psnr:.2f} dB on eval15, {score.seconds:.3f} s an image, "
                    f"{file.stat().st_size / 1000:.0f} kB"
                )
    return 0


def _metadata(name: str, weights: str | Path | None) -> dict[str, str]:
    """What a file says of its model: shapes, and where the weights are from."""
    from llie_core.cli.image_files import weights_hash
    from llie_core.models import model_spec
    from llie_core.models.records import reference_run
    from llie_core.weights import weights_table

    spec = model_spec(name)
    about = {
        "model": name,
        "input": "image: (1, 3, H, W) float32 RGB in [0, 1]; H and W multiples of `multiple`",
        "output": "enhanced: the same shape, clamped to [0, 1]",
    }
    if weights:
        about |= {"weights": str(weights), "sha256": weights_hash(name, weights)}
    if weights == "reference":
        run = reference_run(spec.reference)
        about |= {"run": run.run, "terms": _terms(spec, run.dataset)}
    elif weights == "released":
        about["terms"] = weights_table()[spec.released].licence
    return about


def _pairs(split: str, data: Path):
    """(low, high), (1, 3, H, W) each, of a part of LOL: "val" is 15 pairs of our485."""
    from llie_core.data import open_dataset
    from llie_core.dataset import items

    for item in items(open_dataset("lol", split, data)):
        yield item["image"][None], item["target"][None]


def _score(options) -> int:
    from llie_core.cli.image_files import find_pairs, without_references
    from llie_core.data.images import read_image
    from llie_core.metrics.protocols import load_protocols, score_pairs

    pairs, alone = find_pairs(options.a, options.b) if options.b else without_references(options.a)
    low_light: dict = {}
    if options.low:
        found, without = find_pairs(options.a, options.low)
        low_light, alone = dict(found), alone + without
    rows, problems = score_pairs(pairs, read_image, low_light=low_light)
    for line in (*alone, *problems):
        print(f"llie: {line}", file=sys.stderr)
    if len(problems) == len(pairs):
        return 1
    lines = []
    for row in rows:
        protocol = load_protocols()[row.protocol]
        note = (row.value is None and protocol.missing_weights()) or row.note
        lines.append({"protocol": row.protocol, "value": row.value, "unit": protocol.unit,
                      "n": row.n, "note": note})  # fmt: skip
    if options.json:
        print(json.dumps(lines, indent=1, ensure_ascii=False))
    for one in () if options.json else lines:
        value = "–" if one["value"] is None else f"{one['value']:.4f} {one['unit']}".strip()
        print(f"{one['protocol']:<52} {value:>14}  n = {one['n']}  {one['note']}".rstrip())
    return 1 if problems or not any(row.n for row in rows) else 0


def _weights(options) -> int:
    from llie_core import weights

    text, code = getattr(weights, f"main_{options.action}")(options.names)
    print(text)
    if code and options.action == "fetch":
        print("llie: a file that cannot be fetched here may be put there by hand; llie weights "
              "verify NAME checks it", file=sys.stderr)  # fmt: skip
    return code
