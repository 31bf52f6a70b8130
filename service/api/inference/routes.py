"""Routes of the protocol: metadata, statistics and inference."""

from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version as package_version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.api.asgi import respond_asgi
from service.api.inference import schemas
from service.api.inference.models import Model, configuration, metadata, model_named, statistics_of
from service.api.inference.openapi import errors
from service.core.call import AUTO
from service.http.problems import INFERENCE
from service.observability.inference_stats import InferenceStatistics
from service.pipeline.inference import InferenceEndpoint
from service.pipeline.service import Service

NAME: Final = "tensor-service"
EXTENSIONS: Final = ("binary_tensor_data", "statistics", "model_configuration", "parameters")
MODEL: Final = f"{INFERENCE}/models/{{model}}"
VERSION: Final = f"{MODEL}/versions/{{version}}"

ModelName = Annotated[str, Path(description="An operation.", examples=["matmul"])]
VersionName = Annotated[str, Path(description="A strategy, or `auto`.", examples=["torch"])]


class InferenceEndpoints:
    """POST of each version of each model, by the names in the path."""

    def __init__(self, service: Service):
        """Make the endpoints of all versions of all models."""
        self._registry = service.engine.registry
        self._endpoints = {
            (op.name, version): InferenceEndpoint(service, op, version)
            for op in self._registry.values()
            for version in (AUTO, *op.strategies)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI app; NotFoundError if there is no such model or version."""
        path = scope["path_params"]
        model = model_named(self._registry, path["model"], path.get("version"))
        endpoint = self._endpoints[model.op.name, path.get("version", AUTO)]
        await respond_asgi(endpoint, scope, receive, send)

    @property
    def by_path(self) -> Mapping[str, InferenceEndpoint]:
        """Endpoints by path."""
        found = {}
        for (model, version), endpoint in self._endpoints.items():
            found[VERSION.format(model=model, version=version) + "/infer"] = endpoint
            if version == AUTO:
                found[MODEL.format(model=model) + "/infer"] = endpoint
        return found

    @property
    def routes(self) -> list[Route]:
        """Routes of the framework: bare ASGI, without its layers."""
        return [Route(f"{base}/infer", self, methods=["POST"]) for base in (MODEL, VERSION)]


def inference_router(service: Service, statistics: InferenceStatistics) -> APIRouter:
    """Return the routes that compute nothing."""
    router = APIRouter(tags=["open inference protocol"])
    registry = service.engine.registry

    @router.get(INFERENCE)
    async def server() -> schemas.ServerMetadata:
        """Name, version and extensions of the server."""
        version = package_version(NAME)
        return schemas.ServerMetadata(name=NAME, version=version, extensions=list(EXTENSIONS))

    @router.get(f"{INFERENCE}/health/live")
    async def live() -> schemas.Live:
        """Liveness: the process answers, whatever it computes."""
        return schemas.Live(live=True)

    @router.get(f"{INFERENCE}/health/ready", responses=errors(503))
    async def ready() -> schemas.Ready:
        """Readiness: calls are taken."""
        service.check_ready()
        return schemas.Ready(ready=True)

    @router.post(f"{INFERENCE}/repository/index", responses=errors(503))
    async def index() -> list[schemas.IndexEntry]:
        """Every version of every model; all are ready when the service is."""
        service.check_ready()
        return [
            schemas.IndexEntry(name=name, version=version, state="READY", reason="")
            for name in registry
            for version in model_named(registry, name).versions
        ]

    @router.get(f"{INFERENCE}/models/stats")
    async def all_stats() -> schemas.ModelStats:
        """Statistics of every version of every model since the start of this process."""
        found = [
            each
            for name in registry
            for each in statistics_of(model_named(registry, name), statistics.models[name])
        ]
        return schemas.ModelStats(model_stats=found)

    async def by_name(model: ModelName) -> Model:
        return model_named(registry, model)

    async def by_version(model: ModelName, version: VersionName) -> Model:
        return model_named(registry, model, version)

    _add_model(router, service, statistics, MODEL, by_name)
    _add_model(router, service, statistics, VERSION, by_version)
    return router


def _add_model(
    router: APIRouter,
    service: Service,
    statistics: InferenceStatistics,
    base: str,
    named: Callable[..., Coroutine[Any, Any, Model]],
) -> None:
    """Add the routes of a model, or of a version of it, which `named` finds."""
    asked = Depends(named)

    @router.get(base, responses=errors(404))
    async def describe_model(model: Annotated[Model, asked]) -> schemas.ModelMetadata:
        """Inputs and outputs of a model."""
        return metadata(model)

    @router.get(f"{base}/config", responses=errors(404))
    async def config(model: Annotated[Model, asked]) -> schemas.ModelConfig:
        """Configuration of a model in Triton's form."""
        return configuration(model)

    @router.get(f"{base}/ready", responses=errors(404, 503))
    async def model_ready(model: Annotated[Model, asked]) -> schemas.ModelReady:
        """Readiness of a model."""
        service.check_ready()
        return schemas.ModelReady(name=model.op.name, ready=True)

    @router.get(f"{base}/stats", responses=errors(404))
    async def stats(model: Annotated[Model, asked]) -> schemas.ModelStats:
        """Statistics of a model since the start of this process."""
        found = statistics_of(model, statistics.models[model.op.name])
        return schemas.ModelStats(model_stats=found)
