"""A race of strategies as a request: in a worker process, or on a thread where there is none.

Each row is emitted as its strategy is finished, and the report is the response. The process runs
at nice 10, with as many intra-op threads as any call: a strategy takes as long there as a call
takes on an idle host. It is killed when its client leaves, and at the deadline. What races on a GPU
runs in the process of that, slice by slice. On a thread, which is for a registry that is not the
service's own, a race ends with the run in progress.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from secrets import token_hex

from service import compare
from service.codecs.media_types import JSON
from service.compare import Race
from service.compare.bench import Bench
from service.core.call import Call
from service.core.devices import Device
from service.core.response import HttpResponse
from service.executors import AnyExecutor, Channel
from service.http.serializers import report_answer, row_answer
from service.pipeline.dispatch import with_planning_state
from service.pipeline.messages import WorkerRequest
from service.pipeline.race_slices import ProcessBench
from service.pipeline.request import Negotiated, PipelineRequest


class RaceRequest(PipelineRequest):
    """A request of `/{op}/compare`; rows go to `emit`, if that is set."""

    __slots__ = ("_bench_of", "_race")

    _race: Race
    _bench_of: Callable[[Device], Bench] | None  # in a worker process

    def __init__(self, negotiated: Negotiated, request_id: str):
        """Begin without a body."""
        super().__init__(negotiated, request_id)
        self._bench_of = None

    @property
    def deadline_ms(self) -> int:
        """Twice the server's deadline: a race is planned by estimates, which may be too low."""
        return 2 * self.service.settings.deadline_ms

    def prepare(self) -> None:
        """Decode the body, and plan each strategy of the race."""
        call = self.decode()
        options = compare.CompareOptions.of(call.options)
        self._race = compare.prepare_race(self.service.engine, call, options)
        self.is_prepared = True

    def decode(self) -> Call:
        """Return the call of the body, which has the options of the race."""
        negotiated = self.negotiated
        context = replace(self.context, params=compare.PARAMS)
        return negotiated.reader.decode(self.body, negotiated.op, context, self.fields)

    def prepare_in_worker(self, message: WorkerRequest, channel: Channel) -> None:
        """Prepare the race, which asks the server for what runs in processes of devices."""
        self._bench_of = partial(ProcessBench, channel.ask, token_hex(8))
        super().prepare_in_worker(message, channel)

    def choose_executor(self) -> AnyExecutor:
        """Return the process for races, or the thread for them."""
        return self.service.race_pool or self.service.race_threads

    def run(self) -> HttpResponse:
        """Run the race, and return its report."""
        rows = []
        for row in self._race.run(lambda: self.is_over, self._bench_of):
            rows.append(row)
            if self.emit is not None:
                self.emit(row_answer(row).model_dump_json(exclude_unset=True).encode())
        report = report_answer(self._race.report(rows)).model_dump_json(exclude_unset=True)
        return HttpResponse.of(JSON, (report.encode(),))

    def message(self) -> WorkerRequest:
        """Return the message to a worker, which plans by the server's cost model."""
        message = replace(super().message(), streams=self.emit is not None)
        return with_planning_state(message, self.service)
