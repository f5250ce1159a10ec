"""A gateway process: serves requests with workers that its owner supervises.

It reads its settings from the owner, over the inherited socket. Its log goes to standard error,
which the owner copies to its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvloop

from silkline.admission.limits import MAX_TENANTS, Limits
from silkline.config import Settings
from silkline.engines.registry import Choice
from silkline.engines.worker.parent import tie_to
from silkline.engines.worker.shared import SharedWorker
from silkline.engines.worker.start_errors import kind_of
from silkline.errors import (
    EXIT,
    Overloaded,
    SilklineError,
    exit_code,
)
from silkline.gateway.address import not_listening, shared_socket
from silkline.gateway.processes.channel import (
    Channel,
    Figures,
    Lost,
    Merged,
    Read,
    ReadAll,
    Ready,
    Refused,
    Start,
    ToGateway,
    ToOwner,
    Workers,
    gateways_end,
)
from silkline.gateway.running import run_gateway
from silkline.gateway.server import GatewayServer
from silkline.gateway.siblings import Siblings
from silkline.observe.exposition import Format
from silkline.observe.families import families_of
from silkline.observe.logs import configure_logging
from silkline.observe.metrics import Metrics
from silkline.service.budget import NO_NEED
from silkline.service.deployment import Deployment
from silkline.service.model import ModelFiles
from silkline.service.models import ServedModels
from silkline.service.pool import Prepared, pool_over
from silkline.service.served_model import ServedModel
from silkline.stores.memory import Region, SharedMemory

MERGE_SECONDS = 5.0
"""Maximum time for the owner to merge the metrics of all processes."""


class Gateway:
    """A gateway process's side of the conversation with its owner."""

    def __init__(
        self,
        channel: Channel[ToOwner, ToGateway],
        start: Start,
        settings: Settings,
        memory: SharedMemory,
    ) -> None:
        """Takes the open channel, the first message that came over it, and its settings."""
        self._channel = channel
        self._workers = [
            SharedWorker(partial(self._report_lost, index)) for index in range(start.workers)
        ]
        self._start = start
        self._settings = settings
        self._metrics = Metrics(settings.slo)
        self._memory = memory
        self._limits = Limits(time.monotonic, memory.table(Region.LIMITS, MAX_TENANTS))
        self._numbers = itertools.count()
        self._merged: dict[int, asyncio.Future[bytes]] = {}

    async def run(self) -> None:
        """Serves until a signal drains it; raises `SilklineError` if it cannot start."""
        listening = asyncio.create_task(self._listen(), name="owner")
        model = self._model()
        try:
            await run_gateway(
                self._settings,
                Deployment(self._settings, ServedModels([model]), limits=self._limits),
                partial(self._report_ready, model),
                sockets=self._sockets(),
                siblings=Siblings(self._metrics, self._render),
            )
        finally:
            await model.aclose()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _model(self) -> ServedModel:
        (key,) = self._settings.served
        wanted, memory, gate = self._settings.served[key], self._memory, self._start.gate
        files = None if gate is None else ModelFiles(Path(wanted.model), "", "", gate=gate)
        return ServedModel(
            key,
            Prepared(wanted, Choice(self._start.engine), files, NO_NEED),
            partial(pool_over, wanted, self._workers, memory),
            self._settings.admission,
            self._limits,
            memory,
        )

    def _sockets(self) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        for family, address in self._start.addresses:
            try:
                sockets.append(shared_socket(family, address))
            except OSError as error:
                raise not_listening(str(address[0]), int(address[1]), error) from error
        return sockets

    async def _listen(self) -> None:
        async for message in self._channel.received():
            match message:
                case Workers(statuses):
                    for worker, status in zip(self._workers, statuses, strict=True):
                        worker.update(status)
                case Read(number):
                    self._channel.send(
                        Figures(number, families_of(self._metrics.registry.collect()))
                    )
                case Merged(number, text):
                    if number in self._merged and not self._merged[number].done():
                        self._merged[number].set_result(text)
                case Start():
                    pass

    async def _render(self, form: Format) -> bytes:
        number = next(self._numbers)
        merged: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._merged[number] = merged
        self._channel.send(ReadAll(number, form))
        try:
            async with asyncio.timeout(MERGE_SECONDS):
                return await merged
        except TimeoutError:
            raise Overloaded(
                "The metrics of the gateway processes could not be collected in time; try again."
            ) from None
        finally:
            del self._merged[number]

    def _report_lost(self, worker: int, path: str) -> None:
        self._channel.send(Lost(worker, path))

    def _report_ready(self, model: ServedModel, _: GatewayServer) -> None:
        self._channel.send(Ready(model.info))


def main() -> None:
    """Runs the process; the exit code is that of the command line's table."""
    parser = argparse.ArgumentParser(
        prog="python -m silkline.gateway.processes", description=__doc__
    )
    parser.add_argument("--channel", required=True, type=int, help="socket to the owner")
    parser.add_argument("--memory", required=True, type=int, help="the shared memory's file")
    parser.add_argument("--parent", required=True, type=int, help="the owner's process")
    arguments = parser.parse_args()
    if not tie_to(arguments.parent):
        sys.exit(EXIT.failed)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner passes signals on
    sys.exit(uvloop.run(_serve(arguments.channel, arguments.memory)))


async def _serve(channel_fd: int, memory_fd: int) -> int:
    for inherited in (channel_fd, memory_fd):
        os.set_inheritable(inherited, False)  # noqa: FBT003 - the library's signature
    channel = await gateways_end(socket.socket(fileno=channel_fd))
    start = await anext(channel.received(), None)
    if not isinstance(start, Start):
        return EXIT.failed
    settings = Settings.model_validate_json(start.settings).from_sources(start.sources)
    configure_logging(settings.log, {"process.pid": os.getpid()})
    memory = SharedMemory(memory_fd, settings.server.processes, start.process)
    try:
        await Gateway(channel, start, settings, memory).run()
    except SilklineError as error:
        channel.send(Refused(kind_of(error), error.message))
        with suppress(OSError):
            await channel.flush()
        return exit_code(error)
    return 0


if __name__ == "__main__":
    main()
