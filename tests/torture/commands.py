"""`llie` in a process of its own that finds the imports done, so that a kill meets the work."""

import multiprocessing
import os
import sys

from llie_core.cli import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["commands", "torchmetrics", *(f"llie_core.papers.{paper}.study" for paper in
     ("recognition", "joint", "jcrnet", "drgn", "neid"))]
)  # fmt: skip


def run(arguments, variables, said):
    """The process: the leader of its session, its output in a file."""
    os.setsid()
    os.environ.update(variables)
    with open(said, "ab", buffering=0) as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    os._exit(main(arguments))


def start(arguments, variables, said):
    """Start `llie ARGUMENTS`; a process with pid, exitcode, join, terminate."""
    process = CONTEXT.Process(target=run, args=(arguments, variables, str(said)))
    process.start()
    return process
