"""The app: the one place where settings, registry, engine and routes meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import version

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from service.api.docs import docs_routes
from service.api.openapi import document
from service.api.routes import explanation_router, operation_routes
from service.api.shell import Shell, transport_problem
from service.api.state import join
from service.api.system import system_router
from service.rates import Rates
from service.registry import Registry
from service.settings import Settings, from_environment
from service.strategies import REGISTRY


def create_app(
    settings: Settings | None = None,
    *,
    registry: Registry = REGISTRY,
    rates: Rates | None = None,
) -> FastAPI:
    """The service as an ASGI app; settings come from the environment unless they are given."""
    service = join(settings or from_environment(), registry, rates or Rates())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="Tensor service",
        version=version("tensor-service"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    operations = operation_routes(service)
    app.router.routes.extend(operations)
    app.include_router(explanation_router(service))
    app.include_router(system_router(service))
    app.router.routes.extend(docs_routes())
    app.openapi = cache(partial(document, app, registry))  # type: ignore[method-assign]  # its own way
    app.add_exception_handler(HTTPException, partial(transport_problem, app))
    app.add_middleware(Shell, posts={route.path: route.app for route in operations})
    return app
