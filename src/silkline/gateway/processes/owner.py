"""The owner of several gateway processes: keeps them and the workers running.

The owner has the workers' supervisors and the reserved port, and serves no requests. Each gateway
process has connections of its own to the workers and the remotes, listens on the port with
SO_REUSEPORT, and is replaced when it ends or stops responding. See
`docs/decisions/0028-gateway-processes.md`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence

from silkline.config import Settings
from silkline.engines.worker.folder import SocketFolder
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import EnvironmentFault, SilklineError
from silkline.gateway.processes.channel import Lost, Merged, ReadAll, Ready, Start, Workers
from silkline.gateway.processes.process import GatewayProcess
from silkline.observe.catalogue import MERGED_BY
from silkline.observe.declared import families
from silkline.observe.families import MergedMetrics, families_of
from silkline.observe.logs import chosen_format, shipping_snapshot
from silkline.observe.shipping.readings import log_readings
from silkline.service.pool import Prepared
from silkline.service.ray.fleet import FleetWorker
from silkline.service.shares import settings_of_process
from silkline.stores.memory import SharedMemory

logger = logging.getLogger("silkline.gateway")

READ_SECONDS = 1.0
"""Time between two reads of a process's metrics, and the maximum time for its answer."""

STABLE_SECONDS = 30.0
"""A gateway process that ends sooner after its start counts as a short life."""

MAX_SHORT_LIVES = 5
"""After this many short lives of one gateway process in a row, the server ends."""

FIRST_BACKOFF_SECONDS = 0.1
"""Pause after the second short life; doubles with each further one."""

END_SECONDS = 15.0
"""Time for a gateway process to end, beyond the time that it has to drain."""

_OWNER = -1
"""The owner among the processes whose metrics are merged; gateway processes count from 0."""


class Owner:
    """Keeps the gateway processes and the workers of a server running."""

    def __init__(
        self,
        settings: Settings,
        model: Prepared,
        sockets: Sequence[socket.socket],
        on_ready: Callable[[Ready], None],
        *,
        has_file: bool = False,
    ) -> None:
        """Describes the server; `run` runs it.

        Args:
            settings: The settings.
            model: The model; the caller releases it.
            sockets: Bound sockets that keep the port; the caller closes them.
            on_ready: Called once all gateway processes are ready.
            has_file: Whether the settings come from a file; SIGHUP then does not end the server.
        """
        self._settings = settings
        self._model = model
        self._workers = model.workers()
        self._addresses = [(int(bound.family), bound.getsockname()) for bound in sockets]
        self._on_ready = on_ready
        self._has_file = has_file
        self._rereads = has_file or bool(settings.auth.keys_file)
        self._count = settings.server.processes
        self._memory = SharedMemory.create(self._count)
        self._metrics = MergedMetrics(MERGED_BY)
        self._gateways: dict[int, GatewayProcess] = {}
        self._not_ready = set(range(self._count))
        self._stopping = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs the server until a signal has drained it.

        Raises:
            SilklineError: A worker or a gateway process cannot start.
            EnvironmentFault: A gateway process keeps ending soon after its start.
        """
        folder = SocketFolder.make()
        settings = settings_of_process(self._settings, folder.path)
        log = settings.log.model_copy(update={"log_format": chosen_format(settings.log)})
        settings = settings.model_copy(update={"log": log})
        signals = self._handle_signals()
        try:
            await self._run(settings.model_dump_json(exclude_unset=True))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await asyncio.gather(*(worker.aclose() for worker in self._workers))
            for number in signals:
                asyncio.get_running_loop().remove_signal_handler(number)
            await asyncio.to_thread(folder.remove)

    async def _run(self, settings: str) -> None:
        async with asyncio.TaskGroup() as group:
            background = [
                *(group.create_task(self._start_worker(worker)) for worker in self._workers),
                group.create_task(self._read_forever()),
            ]
            gateways = [
                group.create_task(self._keep(index, settings)) for index in range(self._count)
            ]
            await asyncio.wait(gateways, return_when=asyncio.ALL_COMPLETED)
            for task in background:
                task.cancel()

    async def _start_worker(self, worker: WorkerSupervisor | FleetWorker) -> None:
        """Starts a worker, then publishes its status at each change."""
        await worker.start()
        while True:
            change = worker.changed()
            message = Workers([each.status() for each in self._workers])
            for gateway in self._gateways.values():
                gateway.send(message)
            await change

    async def _keep(self, index: int, settings: str) -> None:
        """Replaces a gateway process until the server stops."""
        short_lives = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            gateway = await self._start(index, settings)
            try:
                await self._serve(index, gateway)
            finally:
                await self._ended(index, gateway)
            if self._stopping.is_set():
                return
            fields = {"process.pid": gateway.pid, "silkline.gateway": index}
            logger.error("gateway process %d %s", index, gateway.ending, extra={"ecs": fields})
            lived = time.monotonic() - started_at
            short_lives = 0 if lived > STABLE_SECONDS else short_lives + 1
            if short_lives == MAX_SHORT_LIVES:
                raise EnvironmentFault(
                    f"Gateway process {index} ended {short_lives} times soon after its start; see "
                    "its lines in the log. The server ends."
                )
            if short_lives > 1:
                await self._pause(FIRST_BACKOFF_SECONDS * 2 ** (short_lives - 2))

    async def _serve(self, index: int, gateway: GatewayProcess) -> None:
        """Waits until a gateway process has ended; raises if it cannot start the first time."""
        first = index in self._not_ready
        try:
            ready = await gateway.ready()
        except SilklineError as error:
            if first:
                raise
            logger.error("gateway process %d cannot start: %s", index, error.message)  # noqa: TRY400
            ready = None
        if ready is not None:
            self._report_ready(index, ready)
        await gateway.ended()
        if ready is None and first and not self._stopping.is_set():
            raise EnvironmentFault(
                f"Gateway process {index} {gateway.ending} before it was ready; see its lines in "
                "the log."
            )

    async def _start(self, index: int, settings: str) -> GatewayProcess:
        model = self._model
        gate = None if model.files is None else model.files.gate
        start = Start(
            index,
            settings,
            dict(self._settings.sources),
            len(self._workers),
            model.choice.engine,
            gate,
            self._addresses,
        )
        gateway = await GatewayProcess.spawn(start, self._memory.descriptor, self._handle)
        self._gateways[index] = gateway
        gateway.send(Workers([worker.status() for worker in self._workers]))
        if self._stopping.is_set():
            gateway.signal(signal.SIGTERM)
        return gateway

    def _report_ready(self, index: int, ready: Ready) -> None:
        if index in self._not_ready:
            self._not_ready.remove(index)
            if not self._not_ready and not self._stopping.is_set():
                self._on_ready(ready)
        else:
            logger.info("gateway process %d serves again", index)

    async def _ended(self, index: int, gateway: GatewayProcess) -> None:
        server = self._settings.server
        await gateway.end(server.lame_duck + server.drain_timeout + END_SECONDS)
        if self._gateways.get(index) is gateway:
            del self._gateways[index]
        self._memory.forget(index)
        self._metrics.update(index, gateway.families)
        self._metrics.ended(index)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _read_forever(self) -> None:
        """Reads the metrics of the processes, and kills those that do not respond."""
        while True:
            began = time.monotonic()
            await self._read_all()
            for index, gateway in self._gateways.items():
                if gateway.hangs:
                    logger.error("gateway process %d does not respond and is killed", index)
                    gateway.signal(signal.SIGKILL)
            await asyncio.sleep(max(0.0, began + READ_SECONDS - time.monotonic()))

    async def _read_all(self) -> None:
        """Reads the metrics of all processes; what one last sent counts if it does not answer.

        The owner's own are those of its logs.
        """
        own = families(log_readings(shipping_snapshot()))
        self._metrics.update(_OWNER, families_of(own))
        await asyncio.gather(*(gateway.read(READ_SECONDS) for gateway in self._gateways.values()))
        for index, gateway in self._gateways.items():
            self._metrics.update(index, gateway.families)

    def _handle(self, gateway: GatewayProcess, message: Lost | ReadAll) -> None:
        """Handles a message of a gateway process."""
        if isinstance(message, Lost):
            if message.worker < len(self._workers):
                self._workers[message.worker].lost_at(message.socket)
            return
        answer = asyncio.create_task(self._answer(gateway, message))
        self._answering.add(answer)
        answer.add_done_callback(self._answering.discard)

    async def _answer(self, gateway: GatewayProcess, asked: ReadAll) -> None:
        await self._read_all()
        gateway.send(Merged(asked.number, self._metrics.render(asked.form)))

    def _handle_signals(self) -> list[signal.Signals]:
        """Handles SIGTERM, SIGINT and SIGHUP.

        A SIGHUP that is ignored (nohup) stays so, unless there is a file to read again.
        """
        signals = [signal.SIGTERM, signal.SIGINT]
        is_default = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        if is_default or self._rereads:
            signals.append(signal.SIGHUP)
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        return signals

    def _signalled(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self._rereads:
            self._reread()
            return
        self._stopping.set()
        for gateway in self._gateways.values():
            gateway.signal(signal.SIGTERM)

    def _reread(self) -> None:
        """Has each process read the keys file again; a change of the settings needs a restart."""
        if self._has_file:
            logger.warning("with several gateway processes, changed settings need a restart")
        if self._settings.auth.keys_file:
            for gateway in self._gateways.values():
                if gateway.is_ready:
                    gateway.signal(signal.SIGHUP)
