"""`llie models`, `score`, `weights`: what there is, and numbers of given images."""

import sys

from llie_core.cli.arguments import path


def add(commands) -> None:
    """Add this group's subcommands."""
    models = commands.add_parser("models", help="list enhancers, darkeners and recognizers")
    models.set_defaults(run=_models)
    score = commands.add_parser("score", help="one output under every protocol, side by side")
    score.add_argument("a", type=path, metavar="A", help="image or folder to score")
    score.add_argument("b", type=path, metavar="B", help="its reference: image or folder")
    score.set_defaults(run=_score)
    weights = commands.add_parser("weights", help="files of weights: none is fetched unasked")
    weights.add_argument("action", choices=("list", "fetch", "verify"))
    weights.add_argument("names", nargs="*", metavar="NAME", help="which; fetch also takes 'all'")
    weights.set_defaults(run=_weights)


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
    if work.macs is None or work.flops is None:
        return f"{parameters}   not counted"
    return f"{parameters}   {work.macs / 1e9:.2f} GMAC = {work.flops / 1e9:.2f} GFLOP"


def _score(options) -> int:
    from llie_core.cli.image_files import find_pairs
    from llie_core.data.images import read_image
    from llie_core.metrics.protocols import load_protocols, score_pairs

    pairs, alone = find_pairs(options.a, options.b)
    rows, problems = score_pairs(pairs, read_image)
    for line in (*alone, *problems):
        print(f"llie: {line}", file=sys.stderr)
    if len(problems) == len(pairs):
        return 1
    for row in rows:
        unit = load_protocols()[row.protocol].unit
        value = "–" if row.value is None else f"{row.value:.4f} {unit}".strip()
        print(f"{row.protocol:<52} {value:>14}  n = {row.n}  {row.note}".rstrip())
    return 1 if problems or not any(row.n for row in rows) else 0


def _weights(options) -> int:
    from llie_core import weights

    if options.action == "list":
        text, code = weights.main_list()
    else:
        text, code = getattr(weights, f"main_{options.action}")(options.names)
    print(text)
    return code
