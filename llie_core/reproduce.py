"""What `make reproduce` runs: it checks what is asked for and makes the reports that need it.

The environment holds what is asked for; a value is read by Python alone, never by a shell.

    PAPER, DATASET    names, separated by spaces; default: every paper, the study's own choice
    PROFILE           default: quick
    SEEDS             "0 1 2"; default: 0
    DATA              folder of the data set
    SETTINGS          settings as YAML: {train: {lr: 2.0e-4}}
    LAUNCH            a prefix for each notebook's command
    MAKEFLAGS         set by make: -jN for N papers side by side
"""

import contextlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llie_core.files import reason_of, reports_dir, results_dir, write_text
from llie_core.hashing import content_hash
from llie_core.reporting.execute import (
    DEFAULTS,
    SUMMARY,
    code_contents,
    is_current,
    report_name,
)
from llie_core.reporting.index import write_index

VARIABLES = ("PAPER", "DATASET", "PROFILE", "SEEDS", "DATA", "SETTINGS")


@dataclass(frozen=True)
class Report:
    """One notebook with its parameters."""

    paper: str
    parameters: dict

    @property
    def name(self) -> str:
        return report_name(self.paper, self.parameters)

    def command(self) -> list[str]:
        """The command that makes it; its parameters are written to a file."""
        import yaml

        path = results_dir() / "parameters" / f"{self.name}.yml"
        write_text(path, yaml.safe_dump(self.parameters, sort_keys=False, allow_unicode=True))
        report = ["llie_core.cli", "report", self.paper, "--parameters", str(path)]
        return [sys.executable, "-m", *report]


def main(values: Mapping[str, str] = os.environ) -> int:
    """Make the reports that are not current; returns 0, 1 where one failed, 2 for wrong input."""
    index = reports_dir() / "index.html"
    try:
        launch = read_launch(values.get("LAUNCH", ""))
        reports = known_plan(values)
        pending = [r for r in reports if not is_current(r.paper, r.parameters)]
        failed = run(pending, jobs_of(values.get("MAKEFLAGS", "")), launch)
        profile = reports[0].parameters["profile"]
        summary = Report(SUMMARY, {"dataset": "all", "profile": profile, **DEFAULTS})
        if pending or not is_current(summary.paper, summary.parameters):
            failed += run([summary], 1, launch)
        else:
            write_index()  # a kill may have come between the last report and its line there
    except (ValueError, TypeError, OSError) as error:
        print(f"make: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the reports that ran have said so
        return 130
    if failed:
        print(f"make: failed: {', '.join(failed)}; see {index}", file=sys.stderr)
        return 1
    print(f"reports: {index}", file=sys.stderr)
    return 0


# What is asked for ----------------------------------------------------------------------------


def known_plan(values: Mapping[str, str]) -> list[Report]:
    """`planned`, or what it came to when it was asked the same last time, by the same code: that
    spares the import of every study, three seconds.

    Raises:
        ValueError, TypeError: as `planned` does; what it refuses is not remembered.
    """
    asked = [str(Path.cwd()), *(values.get(name, "") for name in VARIABLES)]
    path = results_dir() / "parameters" / f"plan-{content_hash(asked)}.json"
    code = content_hash(code_contents())
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["code"] == code:
            return [Report(**report) for report in found["reports"]]
    reports = planned(values)
    content = {"code": code, "reports": [vars(report) for report in reports]}
    write_text(path, json.dumps(content, indent=1))
    return reports


def planned(values: Mapping[str, str]) -> list[Report]:
    """The reports of PAPER, DATASET, PROFILE, SEEDS, DATA and SETTINGS.

    Raises:
        ValueError, TypeError: a name, setting or value that a study refuses.
    """
    from llie_core.papers import list_papers, study_of

    profile = values.get("PROFILE", "").strip() or "quick"
    data = values.get("DATA", "")
    seeds = read_seeds(values.get("SEEDS", ""))
    data = str(Path(data).expanduser().absolute()) if data else ""
    settings = read_settings(values.get("SETTINGS", "{}"))
    reports = []
    for paper in dict.fromkeys(values.get("PAPER", "").split() or list_papers()):
        study = study_of(paper)
        datasets = values.get("DATASET", "").split() or study.default_datasets(profile, data)
        try:
            for dataset in dict.fromkeys(datasets):
                given = {"seeds": seeds} if seeds else {}
                opened = study.open(profile, dataset, data=data, **given, **settings)
                names = {"dataset": dataset, "profile": profile}
                own = {"seeds": list(opened.settings.seeds), "data": data, "settings": settings}
                reports.append(Report(paper, names | own))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{paper}: {error}") from error
    return reports


def read_seeds(text: str) -> list[int]:
    """SEEDS as numbers: "0 1 2" or "0,1,2"; none where it is empty."""
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f'SEEDS: expected whole numbers such as "0 1 2", got {text!r}') from None


def read_launch(text: str) -> list[str]:
    """LAUNCH as the words of a command."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"LAUNCH: {error} in {text!r}") from None


def read_settings(text: str) -> dict:
    """SETTINGS as a mapping. 1:0 is a text and 1e-3 a number, as in YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    numbers = {
        "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9_]*)\Z",
        "tag:yaml.org,2002:float": r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\Z",
    }
    Loader.yaml_implicit_resolvers = {
        first: [resolver for resolver in resolvers if resolver[0] not in numbers]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for tag, pattern in numbers.items():
        Loader.add_implicit_resolver(tag, re.compile(pattern), list("-+.0123456789"))
    try:
        settings = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"SETTINGS: no valid YAML: {reason_of(error)}") from error
    if not isinstance(settings, dict):
        raise ValueError(
            f"SETTINGS: expected settings such as {{train: {{lr: 2.0e-4}}}}, got {text!r}"
        )
    for key in settings:
        if key in ("dataset", "profile", "seeds", "data"):
            raise ValueError(f"SETTINGS: {key} has a variable of its own, {key.upper()}=")
    return settings


def jobs_of(flags: str) -> float:
    """The number of -jN in MAKEFLAGS; infinite for -j alone, 1 without."""
    found = re.search(r"(?:^|\s)-j(\d*)(?:\s|$)", flags.split(" -- ")[0])
    return (float(found[1]) if found[1] else math.inf) if found else 1


# Running --------------------------------------------------------------------------------------


def run(reports: Sequence[Report], jobs: float, launch: Sequence[str] = ()) -> list[str]:
    """Make reports in processes of their own; returns the names of those that failed.

    At most `jobs` run at a time, and those of one paper one after another, because a later one may
    use runs of an earlier one. A failure stops no other.

    Raises:
        KeyboardInterrupt: after every process has ended.
    """
    waiting = [
        [r for r in reports if r.paper == p] for p in dict.fromkeys(r.paper for r in reports)
    ]
    environment = {**shared_cores(min(jobs, len(waiting)), launch), **os.environ}
    running: dict[subprocess.Popen, list[Report]] = {}
    failed = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                chain = waiting.pop(0)
                command = [*launch, *chain[0].command()]
                running[subprocess.Popen(command, env=environment)] = chain
            time.sleep(0.05)
            for process in [p for p in running if p.poll() is not None]:
                done, *rest = running.pop(process)
                failed += [done.name] if process.returncode else []
                waiting[:0] = [rest] if rest else []
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    return failed


def shared_cores(processes: float, launch: Sequence[str]) -> dict[str, str]:
    """The threads of one of several processes, so that they share the cores.

    LAUNCH may give each cores of its own, and leaves them alone.
    """
    if processes < 2 or launch:
        return {}
    return {"OMP_NUM_THREADS": str(math.ceil((os.cpu_count() or 1) / processes))}


if __name__ == "__main__":
    if sys.argv[1:]:
        asked_for_help = set(sys.argv[1:]) <= {"-h", "--help"}
        print(__doc__, file=sys.stdout if asked_for_help else sys.stderr)
        sys.exit(0 if asked_for_help else 2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
