"""The app: the one place where settings, registry, engine and routes are joined."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.api.asgi import EndpointApp, answer_error, answer_fault
from service.api.compute import operation_endpoints, plan_and_race_router
from service.api.guide import guide_routes
from service.api.inference.routes import InferenceEndpoints, inference_router
from service.api.middleware import ErrorMiddleware, RequestMiddleware
from service.api.openapi.document import document
from service.api.pages import docs_routes, lab_routes
from service.api.routing_errors import answer_routing_error
from service.api.system import system_router
from service.core.devices import Device
from service.errors import ServiceError
from service.executors import ForkServer
from service.http.auth import Authenticator
from service.http.problems import is_inference_path
from service.observability import tracing
from service.observability.inference_stats import InferenceStatistics
from service.observability.metrics import Metrics
from service.observability.multiprocess import CountersFolder
from service.observability.record import Recorder
from service.operations import REGISTRY
from service.pipeline.application import Application, Endpoint
from service.pipeline.instruments import add_instruments
from service.pipeline.service import DEVICE_WORKER, WORKER_MODULES, build_service
from service.planning.cost_model import CostModel
from service.registry import Registry
from service.settings import Settings, from_environment, listed


class App(FastAPI):
    """FastAPI inside `RequestMiddleware`, which answers some requests without the framework."""

    outermost: RequestMiddleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event."""
        await self.outermost(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event by the framework's own layers."""
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which the registry decides."""
        if self.openapi_schema is None:
            self.openapi_schema = document(self, self.state.service.engine.registry)
        return self.openapi_schema


def create_app(
    settings: Settings | None = None,
    *,
    registry: Registry = REGISTRY,
    cost_model: CostModel | None = None,
    fork_server: ForkServer | None = None,
    gpus: Sequence[Device] | None = None,
    device_worker: str = DEVICE_WORKER,
) -> App:
    """Return the service as an ASGI app; settings default to those of the environment.

    Worker processes are forked from `fork_server`, or from one that lasts as long as the app. They
    import their registry: with another one all calls run in this process, and on no GPU. The
    `gpus` are those of this host unless they are given; each has a process whose handler is made
    by the function that `device_worker` names.
    """
    own_fork_server = ForkServer(WORKER_MODULES)
    settings = settings or from_environment()
    service = build_service(
        settings,
        registry,
        cost_model or CostModel(),
        None if registry is not REGISTRY else fork_server or own_fork_server,
        gpus=gpus,
        device_worker=device_worker,
    )
    number = version("tensor-service")
    folder = CountersFolder(Path(settings.metrics_dir), number) if settings.metrics_dir else None
    metrics = Metrics(folder)
    add_instruments(metrics, service)
    statistics = InferenceStatistics({op.name: op.strategies for op in registry.values()})
    recorder = Recorder(metrics.counters, statistics)
    authenticator = Authenticator(settings)
    origins = listed(settings.cors_origins)
    inference = InferenceEndpoints(service)
    operations = operation_endpoints(service)
    endpoints: Mapping[str, Endpoint] = {**operations, **inference.by_path}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        await service.start()
        if tracing.is_on():
            app.outermost.trace()
        # With spans the framework has to meet every request.
        direct = {} if tracing.is_on() else endpoints
        async with metrics.published():
            application = Application(
                endpoints={path.encode(): endpoint for path, endpoint in direct.items()},
                authenticator=authenticator,
                recorder=recorder,
                drain=service.drain,
                has_origins=bool(origins),
            )
            yield {"application": application}
            await service.stop()
            own_fork_server.close()

    app = App(
        title="Tensor service",
        version=number,
        generate_unique_id_function=_operation_id,
        docs_url=None,
        redirect_slashes=False,
        redoc_url=None,
        lifespan=lifespan,
        # Its log records would repeat the texts of exceptions; ours do not.
        telemetry={"auto_configure": True, "logs": False},
    )
    app.state.service = service
    app.state.recorder = recorder
    # For HEAD, OPTIONS and 405, and for spans: otherwise the middleware takes the POSTs.
    app.router.routes.extend(
        Route(path, EndpointApp(endpoint), methods=["POST"])
        for path, endpoint in operations.items()
    )
    app.router.routes.extend(inference.routes)
    app.include_router(plan_and_race_router(service))
    app.include_router(inference_router(service, statistics))
    app.include_router(system_router(service, metrics))
    lab = lab_routes(framed_by=listed(settings.embed_origins))
    app.router.routes.extend([*lab, *docs_routes(), *guide_routes()])
    app.add_middleware(ErrorMiddleware)
    app.add_exception_handler(HTTPException, partial(answer_routing_error, app))
    app.add_exception_handler(ServiceError, answer_error)
    app.add_exception_handler(Exception, answer_fault)
    apps = {path: EndpointApp(endpoint) for path, endpoint in endpoints.items()}
    app.outermost = RequestMiddleware(app.framework, apps, authenticator, recorder, origins)
    return app


def _operation_id(route: APIRoute) -> str:
    """Return the id of a route: its function's name, and a mark where that is not unique."""
    protocol = "v2_" if is_inference_path(route.path) else ""
    version = "_version" if "{version}" in route.path else ""
    return f"{protocol}{route.name}{version}"
