"""`llie report`, `results`, `bench`: executed notebooks, the page of results, benchmarks."""

from llie_core.cli.arguments import add_device, path


def add(commands) -> None:
    report = commands.add_parser("report", help="execute a paper's notebook and write its HTML")
    report.add_argument("paper", metavar="PAPER")
    report.add_argument(
        "--parameters",
        type=path,
        required=True,
        help="file with the notebook's parameters, as YAML: a line each, such as profile: quick",
    )
    report.set_defaults(run=_report, resumes=True)
    results = commands.add_parser("results", help="write docs/RESULTS.md from results/reference")
    results.set_defaults(run=_results)
    choose = commands.add_parser(
        "choose", help="measure the methods that llie enhance may use; write docs/DEFAULT.md"
    )
    choose.add_argument("names", nargs="*", metavar="NAME", help="methods; default: all")
    choose.add_argument("--data", type=path, required=True, help="folder that holds the data sets")
    choose.set_defaults(run=_choose)
    bench = commands.add_parser("bench", help="time enhancers and training steps on this device")
    add_device(bench)
    bench.add_argument(
        "--large",
        action="store_true",
        help="images of 24 megapixels to their end: an hour on a CPU",
    )
    bench.set_defaults(run=_bench)


def _report(options) -> int:
    import yaml

    from llie_core.files import reason_of
    from llie_core.reporting.execute import build_report

    try:
        parameters = yaml.safe_load(options.parameters.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{options.parameters}: no valid YAML: {reason_of(error)}") from error
    print(build_report(options.paper, parameters))
    return 0


def _choose(options) -> int:
    from llie_core.choice import update

    print(update(options.data, options.names))
    return 0


def _bench(options) -> int:
    from llie_core.bench import run_benchmarks

    run_benchmarks(options.device, options.large)
    return 0


def _results(_options) -> int:
    from llie_core.files import project_root, write_text
    from llie_core.papers import list_papers, study_of
    from llie_core.papers.found import kept_findings, kept_titles
    from llie_core.reporting.results_page import results_markdown

    target = project_root() / "docs" / "RESULTS.md"
    titles = {name: study_of(name).title for name in list_papers()}
    write_text(target, results_markdown(titles, kept_findings(), kept_titles()))
    print(target)
    return 0
