"""The app: the one place where settings, registry, engine and routes meet."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth import Authenticator
from service.api.compute import explanation_router, operation_routes
from service.api.inference.routes import Infer, inference_router
from service.api.middleware import RequestMiddleware, fault, service_problem, transport_problem
from service.api.openapi.document import document
from service.api.pages import docs_routes, lab_routes
from service.api.system import system_router
from service.core.devices import Device
from service.errors import ServiceError
from service.executors import ForkServer
from service.observability import tracing as telemetry
from service.observability.inference_stats import Statistics
from service.observability.metrics import Metrics, metrics_router, show_parts
from service.observability.multiprocess import CountersFolder
from service.observability.record import Reception
from service.operations import REGISTRY
from service.pipeline.service import OWNER, WORKER, join
from service.planning.cost_model import CostModel
from service.registry import Registry
from service.server.connection import ConnectionMonitor, bounds_of
from service.server.fast_request import ResponseBatch
from service.settings import Settings, from_environment, listed


class App(FastAPI):
    """FastAPI, within the shell: what the shell answers itself never meets the framework."""

    shell: RequestMiddleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event."""
        await self.shell(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event by the framework's own layers."""
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, which the registry decides."""
        if self.openapi_schema is None:
            self.openapi_schema = document(self, self.state.service.engine.registry)
        return self.openapi_schema


def create_app(
    settings: Settings | None = None,
    *,
    registry: Registry = REGISTRY,
    rates: CostModel | None = None,
    template: ForkServer | None = None,
    gpus: Sequence[Device] | None = None,
    owner: str = OWNER,
) -> App:
    """The service as an ASGI app; settings come from the environment unless they are given.

    Worker processes are forked from `template`, or from one that lives as long as the app. They
    import their registry: with another one all calls run in this process, and on no GPU. The
    `gpus` are those of this host unless they are given; each gets a process whose handler is made
    by the function that `owner` names.
    """
    own = ForkServer((WORKER.partition(":")[0],))
    workers = None if registry is not REGISTRY else template or own
    settings = settings or from_environment()
    service = join(settings, registry, rates or CostModel(), workers, gpus=gpus, owner=owner)
    watch = ConnectionMonitor(bounds_of(settings))
    metrics = Metrics(CountersFolder(Path(settings.metrics_dir)) if settings.metrics_dir else None)
    show_parts(metrics, service)
    origins = listed(settings.cors_origins)
    reception = Reception(Authenticator(settings), metrics, has_origins=bool(origins))

    operations = operation_routes(service)
    statistics = Statistics(registry)
    infer = Infer(service, statistics)
    posts: dict[str, ASGIApp] = {route.path: route.app for route in operations}
    posts |= infer.posts

    def drain() -> None:
        service.drain()
        watch.is_ending = True

    # uvicorn's protocol and server find these in its state; other servers come by the shell.
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        await service.start()
        watch.start()
        if telemetry.is_on():
            app.shell.trace()
        quick = {path.encode(): post for path, post in app.shell.posts.items()}
        async with metrics.published():
            yield {
                "posts": quick,
                "turn": ResponseBatch(1000 * settings.busy_poll_us),
                "watch": watch,
                "reception": reception,
                "drain": drain,
            }
            await service.stop()
            watch.stop()
            own.close()

    app = App(
        title="Tensor service",
        version=version("tensor-service"),
        generate_unique_id_function=_name,  # what generated clients call a route
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Its log records would repeat what exceptions say; ours do not.
        telemetry={"auto_configure": True, "logs": False},
    )
    app.state.service = service
    app.state.reception = reception
    app.router.routes.extend(operations)  # for HEAD, OPTIONS and 405; the shell takes the POSTs
    app.router.routes.extend(infer.routes)
    app.include_router(explanation_router(service))
    app.include_router(inference_router(service, statistics))
    app.include_router(system_router(service))
    app.include_router(metrics_router(metrics))
    app.router.routes.extend([*lab_routes(), *docs_routes()])
    app.add_middleware(telemetry.Refusing)
    app.add_exception_handler(HTTPException, partial(transport_problem, app))
    app.add_exception_handler(ServiceError, service_problem)
    app.add_exception_handler(Exception, fault)
    app.shell = RequestMiddleware(app.framework, posts, reception, origins)
    return app


def _name(route: APIRoute) -> str:
    """The id of a route: its function's name, and what tells it from its namesakes."""
    protocol = "v2_" if route.path.startswith("/v2") else ""
    version = "_version" if "{version}" in route.path else ""
    return f"{protocol}{route.name}{version}"
