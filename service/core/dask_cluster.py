"""Client of an external Dask cluster: arrays in blocks, computed there within a deadline.

Dask is imported when a Cluster is created, which happens only if one is configured.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock
from time import monotonic
from typing import Any, Final

import numpy as np

from service.core.array_files import Array, Sink
from service.core.call import Stored, Tensor
from service.errors import ClusterUnavailableError, DeadlineExceededError

POLL_S: Final = 0.5
CONNECT_S: Final = 2.0
# A scheduler answers in milliseconds, but takes a while when it receives a large graph.
ANSWER_S: Final = 3.0
# Each thread of a product holds two blocks, their product, and a few products to be added.
BLOCKS_IN_MEMORY: Final = 16
LEAST_BLOCK: Final = 2**20
GREATEST_BLOCK: Final = 2**27


def missing_dask() -> bool:
    """Return whether Dask is not installed."""
    return not (find_spec("dask") and find_spec("distributed"))


class Cluster:
    """Client of the scheduler at one address.

    It connects on first use, and again after the connection was lost. `threads` and `block_bytes`
    are updated with each use.
    """

    def __init__(self, address: str):
        """Import Dask, without connecting."""
        import dask.array
        import distributed

        self._address = address
        self._dask_array = dask.array
        self._distributed = distributed
        self._configure = dask.config.set
        self._client: Any = None
        self._lock = Lock()
        self._lost = 0.0
        self.threads = 1
        self.block_bytes = GREATEST_BLOCK

    def to_blocks(self, operands: Sequence[Tensor]) -> list[Any]:
        """Return operands as Dask arrays in blocks of about `block_bytes`; workers read files."""
        self._refresh()
        return [self._array(x.source if isinstance(x, Stored) else x.numpy()) for x in operands]

    def _array(self, x: Any) -> Any:
        chunks = x.shape
        if 0 not in x.shape:
            chunks = self._dask_array.core.normalize_chunks(
                "auto", x.shape, limit=self.block_bytes, dtype=x.dtype
            )
        return self._dask_array.from_array(x, chunks=chunks, inline_array=True)

    def fetch(self, array: Any, deadline_s: float) -> Array:
        """Compute an array in blocks, and return its elements."""
        return np.require(self._wait(array, deadline_s), requirements=["C", "W"])

    def fill(self, sink: Sink, array: Any, deadline_s: float) -> None:
        """Have the workers compute an array in blocks, and write it to a shared file."""
        stored = self._dask_array.store(array, sink, lock=False, compute=False)
        self._wait(stored, deadline_s)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop(self._client)

    def _drop(self, client: Any) -> None:
        """Close a connection, unless another call has done so; only with the lock."""
        if client is not None and client is self._client:
            self._client = None
            with suppress(TimeoutError, OSError):
                client.close(timeout=POLL_S)

    def _refresh(self) -> None:
        """Connect if necessary, and read the number of threads and the memory of each."""
        _, found = self._connect()
        rooms = [each["memory_limit"] / each["nthreads"] for each in found["workers"].values()]
        # 0 means no limit.
        room = int(min(filter(None, rooms), default=GREATEST_BLOCK * BLOCKS_IN_MEMORY))
        self.block_bytes = min(max(room // BLOCKS_IN_MEMORY, LEAST_BLOCK), GREATEST_BLOCK)
        self.threads = max(1, found["total_threads"])

    def _connect(self) -> tuple[Any, Any]:
        """Return the client, connected if necessary, and the scheduler's description of itself.

        Raises ClusterUnavailableError without an answer.
        """
        came = monotonic()
        with self._lock:
            if self._lost > came:  # another call has failed while this one waited for the lock
                raise _unreachable()
            try:
                # Before the client is created, which waits without end for a scheduler that hangs.
                found = asyncio.run(self._request_identity())
                if self._client is None:
                    self._client = self._distributed.Client(
                        self._address, timeout=CONNECT_S, set_as_default=False
                    )
            except OSError as error:
                self._drop(self._client)
                self._lost = monotonic()
                raise _unreachable() from error
            return self._client, found

    async def _request_identity(self) -> Any:
        async with asyncio.timeout(ANSWER_S), self._distributed.rpc(self._address) as scheduler:
            return await scheduler.identity()

    def _wait(self, collection: Any, deadline_s: float) -> Any:
        """Return the result of a collection; cancel it at the deadline or without a scheduler."""
        until = monotonic() + deadline_s
        # Operands of a request are part of the graph, so that they survive the end of a worker.
        # Their size is limited already.
        client = self._client
        if client is None:  # another call has closed it since `to_blocks`
            client, _ = self._connect()
        try:
            with self._configure({"distributed.admin.large-graph-warning-threshold": "10GiB"}):
                future = client.compute(collection)
        except Exception as error:
            if client.status != "closed":
                raise
            raise _lost() from error
        try:
            while True:
                try:
                    return future.result(timeout=min(POLL_S, max(0.0, until - monotonic())))
                except TimeoutError:
                    if not future.done() and monotonic() >= until:
                        raise DeadlineExceededError(
                            f"the cluster was not done after {deadline_s:g} s, and was told to stop"
                        ) from None
                self._connect()
        except CancelledError as error:
            with self._lock:
                self._drop(client)
            raise _lost() from error
        except self._distributed.scheduler.KilledWorker as error:
            raise ClusterUnavailableError(
                "workers of the Dask cluster ended again and again while they computed; "
                "they may have too little memory"
            ) from error
        except OSError as error:
            raise ClusterUnavailableError(
                f"a worker of the Dask cluster could not read or write a stored array: "
                f"{error.strerror or error}",
                hint="workers need the folder SERVICE_DATA at the same path as the service",
            ) from error
        finally:
            with suppress(Exception):  # a lost scheduler has nothing to cancel
                future.cancel()


def _lost() -> ClusterUnavailableError:
    return ClusterUnavailableError("the scheduler of the Dask cluster was lost while it computed")


def _unreachable() -> ClusterUnavailableError:
    return ClusterUnavailableError(
        "the scheduler of the Dask cluster does not answer (SERVICE_DASK_SCHEDULER)",
        hint="strategies that run on this host do not need it",
    )
