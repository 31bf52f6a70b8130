"""The service on a Ray cluster, by Ray Serve: as many instances as there is work for.

    serve run deploy.ray_serve:build
    serve run deploy.ray_serve:build gpus=1 max_instances=8

Each instance is the whole service, in an actor with cores, and perhaps a GPU, of its own. Settings
are the `SERVICE_*` variables, which Ray's own `runtime_env` can set as well. It needs the extra
[ray]; tests/deploy/test_ray.py runs it on a local Ray.
"""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from service.api.app import create_app


def make_app() -> FastAPI:
    """The app, made where an instance runs: it holds threads, which cannot be sent."""
    return create_app()


@serve.ingress(make_app)
class TensorService:
    """One instance."""

    app: FastAPI  # as the ingress gives it

    async def check_health(self) -> None:
        """Wait until the strategies are measured; then fail where no call would be taken."""
        service = self.app.state.service
        await service.warmed_up()
        service.check_ready()


class Options(BaseModel):
    """What an instance gets, and how many there may be."""

    model_config = ConfigDict(extra="forbid")

    cpus: int = Field(2, ge=1)
    gpus: int = Field(0, ge=0, le=1)  # one device process for each GPU
    min_instances: int = Field(1, ge=0)
    max_instances: int = Field(4, ge=1)


def build(options: Options) -> serve.Application:
    """The application for `serve run`, with options such as `gpus=1`."""
    deployment = serve.deployment(TensorService).options(
        name="tensor-service",
        # More calls than slots wait in the instance, which says 503 when its own queue is full.
        max_ongoing_requests=64,
        autoscaling_config={
            "min_replicas": options.min_instances,
            "max_replicas": options.max_instances,
            # Two calls for each slot: one computes, and one is there when it is done.
            "target_ongoing_requests": 2 * options.cpus,
            "downscale_delay_s": 300,
        },
        ray_actor_options={
            "num_cpus": options.cpus,
            "num_gpus": options.gpus,
            "runtime_env": {
                "env_vars": {
                    # An actor sees all cores of its host, and is to use its own.
                    "SERVICE_SLOTS": str(options.cpus),
                    "SERVICE_THREADS": "1",
                    "SERVICE_DEVICE": "cuda" if options.gpus else "cpu",
                }
            },
        },
        graceful_shutdown_timeout_s=45,
    )
    return deployment.bind()
