"""When to ask again, and after how long. All calls are pure computations: asking twice is safe."""

import random
from dataclasses import dataclass
from typing import Final

import httpx

from service.client.errors import AnswerError, TimedOutError, UnreachableError

BUSY: Final = (429, 503)
# Without a word from the service: doubled each time.
FIRST_WAIT_S: Final = 0.1


@dataclass(slots=True)
class RetryBudget:
    """What is left of it for one call: tries, and seconds of waiting in all."""

    retries: int
    wait_s: float
    tried: int = 0

    def pause_s(self, error: httpx.RequestError | AnswerError, *, begun: bool) -> float:
        """How long to wait before the next try; the error is raised if there is to be none.

        Tried again are: a busy service, after what its `Retry-After` says; no connection, or one
        that broke. Never: what would fail again, what took too long, what was `begun` to be used.
        """
        asked = error.wait_s if isinstance(error, AnswerError) else None
        pause = FIRST_WAIT_S * 2**self.tried if asked is None else asked
        # Those who were turned away together do not come back together.
        pause *= random.uniform(1, 1.25)  # noqa: S311  # spreads clients, keeps no secret
        self.tried += 1
        self.wait_s -= pause
        if not begun and _passes(error) and self.tried <= self.retries and self.wait_s >= 0:
            return pause
        if isinstance(error, AnswerError):
            raise error
        kind = TimedOutError if isinstance(error, httpx.TimeoutException) else UnreachableError
        request = error.request
        raise kind(
            f"{request.method} {request.url}: {str(error) or type(error).__name__}"
        ) from error


def _passes(error: httpx.RequestError | AnswerError) -> bool:
    """Whether it may be gone next time."""
    if isinstance(error, AnswerError):
        return error.status in BUSY
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
