"""Training in several processes: joining them, starting them, averaging over them."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist

from llie_core.signals import ENDING, Interrupted

T = TypeVar("T")
TALKERS = [f"torch.distributed.elastic.{name}.api" for name in ("multiprocessing", "agent.server")]


def default_device(rank: int = 0) -> str:
    """The local CUDA device where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % torch.cuda.device_count()}"


def join_process_group() -> tuple[int, int]:
    """(rank, world size) under torchrun or `launch`; (0, 1) in a process on its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        # With a GPU both, since a training may be told to stay on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


def first_says(value: T) -> T:
    """Rank 0's value, in every process; the others wait for it however long it takes."""
    if not dist.is_initialized():
        return value
    said = [value]
    dist.broadcast_object_list(said, src=0, group=_patient_group())
    return said[0]


@cache
def _patient_group():
    """All processes; the timeout of the default group, minutes, would end a wait for a lock."""
    return dist.new_group(backend="gloo", timeout=timedelta(days=365))


def largest(values: list[float], world_size: int) -> list[float]:
    """The largest of each number over the processes; GPUs are not waited for."""
    if world_size == 1:
        return values
    numbers = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(numbers, dist.ReduceOp.MAX, group=_patient_group())
    return numbers.tolist()


def launch(function: Callable, *args, processes: int = 1):
    """Call `function(*args)` in `processes` processes of one group; return rank 0's result.

    Works from a notebook (processes are spawned, so function and args must be picklable).

    Raises:
        Interrupted: a signal ended the processes.
        RuntimeError: one of them failed; the message is that of its error, in one line.
    """
    if processes == 1:
        return function(*args)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        run_id="llie",
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        max_restarts=0,  # what failed, such as a loss that is not finite, would fail again
        start_method="spawn",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        signals_to_handle=",".join(number.name for number in ENDING),
    )
    try:
        with _quiet():
            return elastic_launch(config, function)(*args)[0]
    except SignalException as error:  # the processes have ended
        raise Interrupted(error.sigval) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise RuntimeError(f"process {rank} of {processes}: {_reason(failure.message)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's own pages on an error or a signal; LOGLEVEL in the environment shows them."""
    loggers = [logging.getLogger(name) for name in ([] if "LOGLEVEL" in os.environ else TALKERS)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _reason(message: str | dict) -> str:
    """The error of a process as torch records it: a text, or a dict with a traceback beside it."""
    text = message["message"] if isinstance(message, dict) else message
    return next(iter(text.splitlines()), "it failed without a message")


def averaged(terms: dict[str, torch.Tensor], world_size: int) -> dict[str, torch.Tensor]:
    """Loss terms as means over the processes, for the log."""
    detached = {name: value.detach() for name, value in terms.items()}
    if world_size > 1:
        stacked = torch.stack(list(detached.values()))
        dist.all_reduce(stacked)
        detached = dict(zip(detached, stacked / world_size, strict=True))
    return detached
