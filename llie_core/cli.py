"""The `llie` command. Heavy imports happen inside the subcommands, so that --help is instant."""

import argparse
import os
import sys
from pathlib import Path

from llie_core import darken


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code (0 done, 1 failed, 2 wrong usage or input)."""
    options = _parser().parse_args(arguments)
    # Set before torch is imported: how long a waiting OpenMP thread spins before it sleeps. On two
    # cores a step of DRGN takes twice as long without spinning; and with the 300,000 turns of the
    # default, two jobs that share the cores take ten times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        return options.run(options)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("llie: interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"llie: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"llie: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llie", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_keep(commands)
    _add_enhance(commands)
    _add_listings(commands)
    _add_export(commands)
    _add_measuring(commands)
    _add_report(commands)
    return parser


def _add_fit(commands) -> None:
    fit = commands.add_parser("fit", help="train one run, or resume or reuse it, and score it")
    fit.add_argument("paper", metavar="PAPER", help="joint, …")
    fit.add_argument("--dataset", default="", help="default: the paper's built-in set")
    fit.add_argument("--profile", default="quick", help="smoke, quick, reference or paper")
    fit.add_argument("--model", default="", help="one of the recipe's models")
    fit.add_argument("--variant", default="", help="an ablation or ratio, such as 2:1")
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--data", default="", help="folder of the data set")
    fit.add_argument(
        "--device", default=None, help="cpu, cuda:0, …; default: a GPU if there is one"
    )
    fit.add_argument("--processes", type=int, default=1, help="training processes (DDP)")
    fit.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                     help="override a setting, VALUE as JSON, e.g. --set steps=500")  # fmt: skip
    fit.add_argument("--no-score", action="store_true", help="train only")
    fit.set_defaults(run=_fit)


def _add_keep(commands) -> None:
    keep = commands.add_parser("keep", help="copy a paper's finished runs into results/reference")
    keep.add_argument("paper", metavar="PAPER")
    keep.add_argument("--dataset", default="", help="default: the paper's built-in set")
    keep.add_argument("--profile", default="reference")
    keep.add_argument("--seeds", type=int, nargs="*", help="default: the profile's")
    keep.add_argument("--data", default="", help="folder of the data set")
    keep.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    keep.set_defaults(run=_keep)


def _fit(options) -> int:
    from llie_core.recipes import get_recipe

    recipe = get_recipe(options.paper)
    given = {"dataset": options.dataset, "data": options.data}
    settings = recipe.settings(
        options.profile,
        seeds=[options.seed],
        processes=options.processes,
        **{key: value for key, value in given.items() if value},
        **_overrides(options.overrides),
    )
    key = recipe.parse_key(settings, options.model, options.variant, options.seed)
    run = recipe.fit(key, settings, options.device)
    if int(os.environ.get("RANK", "0")):
        return 0  # under torchrun the first process scores and speaks for all
    stamp = run.read_stamp()
    print(f"{key}: {stamp['steps_done']} steps in {stamp['seconds']:.0f} s on {stamp['device']}")
    print(f"weights: {run.weights_path}")
    if recipe.is_scored(key) and not options.no_score:
        for score in recipe.evaluate(key, settings, options.device):
            print(f"{score.metric:>14} {score.subset:<8} {score.value:8.4f} {score.unit}"
                  f"  (n = {score.n}, {score.protocol})")  # fmt: skip
    return 0


def _keep(options) -> int:
    from llie_core.recipes import get_recipe

    recipe = get_recipe(options.paper)
    given = {"dataset": options.dataset, "data": options.data, "seeds": options.seeds}
    given = {key: value for key, value in given.items() if value}
    settings = recipe.settings(options.profile, **given, **_overrides(options.overrides))
    print(f"kept: {recipe.keep(settings)}")
    return 0


def _overrides(pairs: list[str]) -> dict[str, object]:
    import json

    own = {"seeds": "--seed", **{k: f"--{k}" for k in ("dataset", "data", "profile", "processes")}}
    overrides = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--set {pair}: write KEY=VALUE")
        if key in own:
            raise ValueError(f"--set {pair}: this setting has an option of its own, {own[key]}")
        try:
            overrides[key] = json.loads(value)
        except json.JSONDecodeError:
            overrides[key] = value
    return overrides


def _add_enhance(commands) -> None:
    enhance = commands.add_parser(
        "enhance", help="enhance pictures with a method, or with a run's weights"
    )
    enhance.add_argument("--model", default="clahe", help="default: clahe; see llie models")
    enhance.add_argument("--weights", type=Path, help="weights.safetensors of a run")
    enhance.add_argument("--released", type=Path, help="the authors' released checkpoint")
    enhance.add_argument("--device", default=None)
    enhance.set_defaults(run=_enhance)
    dark = commands.add_parser(
        "darken", help="darken pictures: physically, to an exposure, or as others are degraded"
    )
    darken.add_options(dark)
    dark.set_defaults(run=_darken)
    for command in (enhance, dark):
        command.add_argument("source", type=Path, help="a picture, or a folder with its subfolders")
        command.add_argument("target", type=Path, help="folder for the results (PNG)")


def _enhance(options) -> int:
    from llie_core.data.images import read_image, write_image
    from llie_core.pictures import each_picture, find_pictures, trained_model

    model, device = trained_model(options.model, options.weights, options.released, options.device)

    def write(picture) -> None:
        image = read_image(picture.path)[None].to(device)
        write_image(picture.target, model.enhance(image)[0].cpu())

    pictures = find_pictures(options.source, options.target)
    failed = each_picture(pictures, write)
    print(f"{len(pictures) - failed} of {len(pictures)} pictures written to {options.target}")
    return 1 if failed else 0


def _darken(options) -> int:
    said, code = darken.run(options)
    print(said)
    return code


def _add_listings(commands) -> None:
    models = commands.add_parser("models", help="list enhancers, darkeners and recognizers")
    models.set_defaults(run=_models)
    datasets = commands.add_parser("datasets", help="list data sets; check copies; make synthetic")
    actions = datasets.add_subparsers(metavar="doctor | make")
    datasets.set_defaults(run=_datasets)
    doctor = actions.add_parser("doctor", help="counts, partners, damage, sizes, leaks of a copy")
    doctor.add_argument("name", nargs="?", metavar="NAME", help="one data set; default: all found")
    doctor.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    doctor.add_argument("--quick", action="store_true", help="read the pictures' headers only")
    doctor.set_defaults(run=_doctor)
    make = actions.add_parser("make", help="darken pictures into a set of pairs")
    make.add_argument("name", metavar="NAME", help="coco-low-light, coco1000, coco24700, lol-style")
    make.add_argument("--data", type=Path, required=True, help="folder of normal-light pictures")
    make.add_argument("--out", type=Path, required=True, help="folder for low/ and high/")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--count", type=int, help="pictures; default: as many as the set has")
    make.set_defaults(run=_make_dataset)


def _models(_options) -> int:
    from llie_core.models import create_enhancer, list_darkeners, list_enhancers
    from llie_core.recognizers import list_recognizers

    for kind, names in (("enhancers", list_enhancers()), ("darkeners", list_darkeners())):
        print(f"{kind:<16} {'parameters':>10}   work at 512×1024")
        for name in names:
            print(f"  {name:<14} {_cost(create_enhancer(name))}")
    print("recognizers\n  " + "\n  ".join(list_recognizers()))
    return 0


def _cost(model) -> str:
    """Parameters, FLOPs and MACs of a model in one line."""
    from llie_core.metrics.cost import count_macs, count_parameters

    parameters = f"{count_parameters(model):>10,}"
    try:
        work = count_macs(model, (512, 1024))
    except ValueError:  # its path depends on values, which the meta device has not
        return f"{parameters}   not counted"
    if work.macs is None:
        return f"{parameters}   not counted"
    return f"{parameters}   {work.macs / 1e9:.2f} GMAC = {work.flops / 1e9:.2f} GFLOP"


def _datasets(_options) -> int:
    from llie_core.data import listing_text

    print(listing_text())
    return 0


def _doctor(options) -> int:
    from llie_core.data.doctor import doctor_text

    text, code = doctor_text(options.name, options.data, quick=options.quick)
    print(text)
    return code


def _make_dataset(options) -> int:
    from llie_core.data.synthesis import write_preset
    from llie_core.data.unpaired import ImageFolder

    source = ImageFolder(options.data)
    print(write_preset(options.name, source, options.out, options.seed, options.count))
    return 0


def _add_export(commands) -> None:
    export = commands.add_parser("export", help="write a paper's test pictures for other programs")
    export.add_argument("paper", metavar="PAPER")
    export.add_argument("--profile", default="quick")
    export.add_argument("--dataset", default="")
    export.add_argument("--data", default="", help="folder of the data set")
    export.add_argument("--out", type=Path, required=True, help="folder for the pictures (PNG)")
    export.set_defaults(run=_export)


def _export(options) -> int:
    from llie_core.data.images import write_image
    from llie_core.recipes import get_recipe

    recipe = get_recipe(options.paper)
    given = {"dataset": options.dataset, "data": options.data}
    given = {key: value for key, value in given.items() if value}
    settings = recipe.settings(options.profile, **given)
    data, _ = recipe.test_data(settings)
    for index in range(len(data)):
        item = data[index]
        write_image(options.out / f"{Path(item['name']).with_suffix('')}.png", item["image"])
    print(
        f"{len(data)} pictures written to {options.out}; run a method on them, keep the names,\n"
        f"put its pictures into FOLDER/METHOD/{settings.dataset}/, then:\n"
        f"make reproduce PAPER={options.paper} PROFILE={options.profile} "
        "SETTINGS='{external: FOLDER}'"
    )
    return 0


def _add_measuring(commands) -> None:
    score = commands.add_parser("score", help="one output under every protocol, side by side")
    score.add_argument("a", type=Path, metavar="A", help="picture or folder to score")
    score.add_argument("b", type=Path, metavar="B", help="its reference: picture or folder")
    score.set_defaults(run=_score)
    weights = commands.add_parser("weights", help="weights of metrics: nothing comes by itself")
    weights.add_argument("action", choices=("list", "fetch", "verify"))
    weights.add_argument("names", nargs="*", metavar="NAME", help="which; fetch also takes 'all'")
    weights.set_defaults(run=_weights)


def _score(options) -> int:
    from llie_core.data.images import read_image
    from llie_core.metrics.protocols import load_protocols, score_pair

    for row in score_pair(options.a, options.b, read_image):
        unit = load_protocols()[row.protocol].unit
        value = "–" if row.value is None else f"{row.value:.4f} {unit}".strip()
        print(f"{row.protocol:<52} {value:>14}  n = {row.n}  {row.note}".rstrip())
    return 0


def _weights(options) -> int:
    from llie_core import weights

    if options.action == "list":
        text, code = weights.main_list()
    else:
        text, code = getattr(weights, f"main_{options.action}")(options.names)
    print(text)
    return code


def _add_report(commands) -> None:
    report = commands.add_parser("report", help="execute a paper's notebook and write its HTML")
    report.add_argument("paper", metavar="PAPER")
    report.add_argument(
        "--parameters", type=Path, required=True, help="YAML of notebook parameters"
    )
    report.set_defaults(run=_report)
    bench = commands.add_parser("bench", help="time enhancers and training steps on this device")
    bench.add_argument("--device", default=None)
    bench.set_defaults(run=_bench)


def _report(options) -> int:
    import yaml

    from llie_core.reporting.execute import build_report

    try:
        parameters = yaml.safe_load(options.parameters.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{options.parameters}: no valid YAML: {reason}") from error
    print(build_report(options.paper, parameters))
    return 0


def _bench(options) -> int:
    from llie_core.bench import run_benchmarks

    run_benchmarks(options.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
