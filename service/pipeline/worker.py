"""What worker processes do: whole requests of operations, by the code that the server has."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.codecs.json.parsers import drop_parsers
from service.core import host
from service.core.devices import Device
from service.engine import is_exhausted
from service.errors import ServiceError
from service.executors import Bytes, Channel, Handler, WorkerResponse
from service.http.negotiation import NEGOTIATED, formats, headers_of, request_codec
from service.operations import REGISTRY
from service.pipeline.inference import NEGOTIATED as INFERENCE_NEGOTIATED
from service.pipeline.inference import InferEndpoint
from service.pipeline.messages import WorkerRequest, WrongDeviceError, headers_from, reply_head
from service.pipeline.race import RaceRequest
from service.pipeline.request import Negotiated, OperationRequest
from service.pipeline.service import Service, join
from service.planning.cost_model import CostModel, Row
from service.settings import Settings


def make(
    settings: Mapping[str, Any], rates: Iterable[Row], gpus: Iterable[Mapping[str, Any]] = ()
) -> Handler:
    """The handler of a worker, with the server's own settings, and what it has measured.

    The `gpus` are owned by others: calls for them are planned here, and handed back.
    """
    known = [Device(**each) for each in gpus]
    service = join(
        Settings.model_validate(settings), REGISTRY, CostModel.from_rows(rates), gpus=known
    )
    service.phase = "ready"
    return RequestHandler(service)


class RequestHandler:
    """Answers requests as the server would."""

    def __init__(self, service: Service):
        """Answer by these parts."""
        self._service = service

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """The reply to a request, be it a result or a problem."""
        task = WorkerRequest.from_json(head)
        planner = self._service.engine.planner
        planner.devices.readiness.update(task.absences)
        planner.cost_model.update(task.rates)
        exchange = self._exchange(task)
        try:
            reply = exchange.work(task, body, line)
        except WrongDeviceError as error:
            return WorkerResponse(error.to_json())
        except ServiceError as error:
            reply = exchange.refused(error)
        except RuntimeError as error:
            if is_exhausted(error):
                raise MemoryError from error
            raise
        return WorkerResponse(reply_head(reply, exchange.watch, exchange.strategy), reply.chunks)

    def trim_memory(self) -> None:
        """Return memory that large calls have left to the system."""
        drop_parsers()
        host.trim_memory()

    def _exchange(self, task: WorkerRequest) -> OperationRequest | RaceRequest:
        """The exchange that the server has begun, as far as that is known here."""
        op = self._service.engine.registry[task.op]
        if task.tells is not None:
            given = headers_of(headers_from(NEGOTIATED, task.headers).items())
            return RaceRequest(self._service, op, request_codec(given))
        if task.version:
            headers = headers_from(INFERENCE_NEGOTIATED, task.headers)
            # The server counts what comes of it.
            endpoint = InferEndpoint(self._service, op, task.version, records={})
            terms = endpoint.terms(headers).once()
        else:
            headers = headers_from(NEGOTIATED, task.headers)
            terms = Negotiated(self._service, op, *formats(headers))
        return OperationRequest(terms, task.request_id)
