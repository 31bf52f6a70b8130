"""The parts of an application that a server uses directly, without ASGI."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.errors import ServiceError
from service.http.auth import Authenticator, Client
from service.observability.record import Recorder
from service.pipeline.chain import ChainEndpoint, ChainRequest, NegotiatedChain
from service.pipeline.gradients import GradientsEndpoint, NegotiatedGradients
from service.pipeline.inference import InferenceEndpoint, NegotiatedInference
from service.pipeline.operation import NegotiatedOperation, OperationEndpoint, OperationRequest

Endpoint = OperationEndpoint | ChainEndpoint | GradientsEndpoint | InferenceEndpoint
AnyRequest = OperationRequest | ChainRequest
AnyNegotiated = NegotiatedOperation | NegotiatedChain | NegotiatedGradients | NegotiatedInference


@dataclass(frozen=True, slots=True)
class Application:
    """Endpoints of operations by path, and what surrounds them.

    An application puts it into the state of its lifespan, where a server finds it. With
    `has_origins` pages of other origins may call; `drain` has the application refuse new calls.
    """

    endpoints: Mapping[bytes, Endpoint]
    authenticator: Authenticator
    recorder: Recorder
    drain: Callable[[], None]
    has_origins: bool = False

    def admits(self, path: str, headers: Mapping[bytes, bytes], client: Client) -> bool:
        """Return whether a request is admitted, and its response needs no more headers.

        A refusal is left to the ASGI application, and so are pages of other origins. This is to be
        the last check: an admitted request has used up a part of its quota.
        """
        if self.has_origins and b"origin" in headers:
            return False
        if self.authenticator.is_required:
            try:
                self.authenticator.admit(path, headers, client)
            except ServiceError:
                return False
        return True
