"""Processes of one gloo group, started once, that run one function after the other.

A start costs seconds, most of them for ``import torch``: a server imports it once, and all
processes are forks of that server. Functions are pickled by name: they are those of a module.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import pickle
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch
import torch.distributed as dist

import wgan_fast  # noqa: F401 - imported by the server, for all processes

T = TypeVar("T")

#: After one process has failed, the others may be waiting for it: they get this many seconds more.
_GRACE = 2.0

#: What PyTorch's engines import when they are first used, which takes seconds.
_IMPORTED_LATE = ["torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor.parallel"]


class ProcessError(RuntimeError):
    """A function failed, or did not come to its end; with the traceback of each process."""


class Processes:
    """Processes with the ranks ``0 ... count - 1``; they start with the first :meth:`run`.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._running: list[tuple[Any, Connection]] = []
        self._folder: str | None = None

    def run(self, function: Callable[..., T], *args: Any, limit: float = 60.0) -> list[T]:
        """Calls ``function(*args)`` in every process, and returns the results by rank.

        Each call begins with one thread and the seed 0. After an error the processes are ended,
        because some may wait for others for ever, and started anew for the next call.

        Args:
            function: at the top of a module that can be imported.
            args: what can be pickled; arrives as a copy.
            limit: how many seconds it may take.

        Raises:
            ProcessError: if a process raised an error, was ended or took longer than that.
        """
        if not self._running:
            self._start()
        job = pickle.dumps((function, args))
        for _, connection in self._running:
            with suppress(BrokenPipeError):  # it has ended: that is seen below
                connection.send_bytes(job)
        answers = self._answers(time.monotonic() + limit)
        if not all(went_well for went_well, _ in answers):
            self.close(force=True)
            failures = [
                f"process {rank} of {self.count}: {reason or f'no answer in {limit} s'}"
                for rank, (went_well, reason) in enumerate(answers)
                if not went_well
            ]
            raise ProcessError("\n".join(failures))
        return [result for _, result in answers]

    def close(self, *, force: bool = False) -> None:
        """Ends the processes."""
        for process, connection in self._running:
            if force:
                process.kill()
            connection.close()
        for process, _ in self._running:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        self._running = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *_IMPORTED_LATE])
        self._folder = tempfile.mkdtemp()
        store = os.path.join(self._folder, "store")
        for rank in range(self.count):
            mine, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, self.count, store, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self._running.append((process, mine))

    def _answers(self, deadline: float) -> list[tuple[bool, Any]]:
        """By rank: whether it went well, with the result, or with what went wrong; None if that is
        the time."""
        answers: list[tuple[bool, Any]] = [(False, None)] * self.count
        waiting = {connection: rank for rank, (_, connection) in enumerate(self._running)}
        while waiting:
            ready = wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for connection in ready:
                rank = waiting.pop(connection)
                answers[rank] = self._answer_of(rank)
                if not answers[rank][0]:
                    deadline = min(deadline, time.monotonic() + _GRACE)
        return answers

    def _answer_of(self, rank: int) -> tuple[bool, Any]:
        process, connection = self._running[rank]
        try:
            return pickle.loads(connection.recv_bytes())
        except EOFError:
            process.join(5)
            return False, f"ended with exit code {process.exitcode}"


def _serve(rank: int, count: int, store: str, connection: Connection) -> None:
    """The life of one process: it does what it is sent, until nobody sends any more."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=count,
        timeout=datetime.timedelta(seconds=60),
    )
    with suppress(EOFError):
        while True:
            function, args = pickle.loads(connection.recv_bytes())
            torch.set_num_threads(1)
            torch.manual_seed(0)
            try:
                answer = pickle.dumps((True, function(*args)))
            except BaseException:
                answer = pickle.dumps((False, traceback.format_exc()))
            connection.send_bytes(answer)
    dist.destroy_process_group()
