"""The handler of a worker process: whole requests, by the same pipeline as in the server."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from service.core import host
from service.core.call import Call
from service.core.devices import Device, is_host_exhausted
from service.core.dtypes import describe, parse_dtype
from service.core.response import HttpResponse
from service.errors import DeviceFailedError, ServiceError
from service.executors import Bytes, Channel, Handler, SharedBuffer, WorkerResponse
from service.http.negotiation import FORMAT_HEADERS, headers_of, reader_for
from service.http.problems import error_response
from service.operations import REGISTRY
from service.pipeline.application import Endpoint
from service.pipeline.chain import ChainEndpoint
from service.pipeline.gradients import GradientsEndpoint
from service.pipeline.inference import INFERENCE_FORMAT_HEADERS, InferenceEndpoint
from service.pipeline.messages import (
    CALIBRATE,
    WorkerRequest,
    WrongDeviceError,
    headers_from,
    response_head,
)
from service.pipeline.operation import OperationEndpoint
from service.pipeline.race import RaceRequest
from service.pipeline.request import Negotiated, PipelineRequest
from service.pipeline.service import READY, Service, build_service
from service.planning.cost_model import COPIED, PEAK, CostModel, CurveRow
from service.settings import Settings


def make(
    settings: Mapping[str, Any], curves: Iterable[CurveRow], gpus: Iterable[Mapping[str, Any]] = ()
) -> Handler:
    """Return the handler of a worker, with the server's settings and measured costs.

    The `gpus` have processes of their own: calls for them are planned here, and passed back.
    """
    known = [Device(**each) for each in gpus]
    service = build_service(
        Settings.model_validate(settings), REGISTRY, CostModel.from_rows(curves), gpus=known
    )
    service.state = READY
    return RequestHandler(service)


class RequestHandler:
    """Answers requests as the server would."""

    def __init__(self, service: Service):
        """Answer by the parts of `service`."""
        self._service = service

    def read_body(self, buffer: SharedBuffer, size: int, at: int) -> Bytes:
        """Return a copy of the body of a request."""
        return buffer.read(size, at)

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Return the response to a request: a result, a report or a problem.

        The response to CALIBRATE with an operation, a dtype and a device has measured costs.
        """
        if head.startswith(CALIBRATE):
            return WorkerResponse(self._measure(*head.removeprefix(CALIBRATE).decode().split()))
        message = WorkerRequest.from_json(head)
        planner = self._service.engine.planner
        planner.devices.readiness.update(message.absences)
        planner.devices.with_tf32.update(message.with_tf32)
        planner.cost_model.update(message.curves)
        request = self._request(message)
        try:
            response = request.work(message, body, channel)
        except WrongDeviceError as error:
            return WorkerResponse(error.to_json())
        except DeviceFailedError:
            raise  # this process ends, and another takes its place
        except ServiceError as error:
            response = _problem(error, message)
        except RuntimeError as error:
            if is_host_exhausted(error):
                raise MemoryError from error
            raise
        head = response_head(response, request.watch, request.strategy)
        return WorkerResponse(head, response.chunks)

    def decode(self, message: WorkerRequest, body: Bytes) -> Call:
        """Return the call of a request that another process runs."""
        request = self._request(message)
        request.receive(message, body)
        return request.decode()

    def _measure(self, name: str, dtype: str, device: str) -> bytes:
        """Return the costs of an operation in a dtype on a device, measured now, as JSON.

        The peak rates of the device are among them.
        """
        engine = self._service.engine
        (here,) = engine.planner.devices.candidates(device)
        engine.measure(engine.registry[name], parse_dtype(dtype).torch, here)
        rows = engine.planner.cost_model.to_rows()
        wanted = (name, device, dtype), (PEAK, device, dtype), (PEAK, device, describe(COPIED).name)
        return orjson.dumps([row for row in rows if (row[0], row[2], row[3]) in wanted])

    def trim_memory(self) -> None:
        """Return memory that large calls have left to the system."""
        host.trim_memory()

    def _request(self, message: WorkerRequest) -> PipelineRequest:
        """Return the request that the server has begun."""
        service, name = self._service, message.op
        if message.streams is not None:
            op = service.chain if name == service.chain.name else service.engine.registry[name]
            given = headers_of(headers_from(FORMAT_HEADERS, message.headers).items())
            return RaceRequest(Negotiated(service, op, reader_for(given)), message.request_id)
        names = INFERENCE_FORMAT_HEADERS if message.version else FORMAT_HEADERS
        headers = headers_from(names, message.headers)
        return self._endpoint(name, message.version).negotiate(headers).begin(message.request_id)

    def _endpoint(self, name: str, version: str) -> Endpoint:
        """Return the endpoint of an operation, of its gradients, of a chain or of a model."""
        service = self._service
        if name == service.chain.name:
            return ChainEndpoint(service)
        if name in service.gradients:
            return GradientsEndpoint(service, service.gradients[name])
        op = service.engine.registry[name]
        if version:
            return InferenceEndpoint(service, op, version)
        return OperationEndpoint(service, op)


def _problem(error: ServiceError, message: WorkerRequest) -> HttpResponse:
    return error_response(error, message.request_id, inference=bool(message.version))
