"""Errors of a service that is busy, too late or at fault."""

from service.errors.base import ServiceError


class BusyError(ServiceError):
    """The service cannot take the call now. `Retry-After` says when to try again."""

    retry_after_s: int = 1


class WarmingUpError(BusyError):
    """The service has started and is still measuring its strategies. Try again in a second."""

    code = "warming-up"
    title = "The service is warming up"


class DrainingError(BusyError):
    """The service is shutting down and takes no new calls. Another instance may take the call."""

    code = "draining"
    title = "The service is shutting down"


class OverloadedError(BusyError):
    """All slots are in use and the queue is full. Wait for the seconds in `Retry-After`."""

    code = "overloaded"
    title = "The service is busy"


class ClusterUnavailableError(BusyError):
    """The Dask cluster was lost, or cannot do the call. The strategies of this host still work.

    The service connects again when the next call needs the cluster.
    """

    code = "cluster-unavailable"
    title = "The cluster is not available"


class OutOfMemoryError(BusyError):
    """The host or the device ran out of memory during the call. The memory has been freed."""

    code = "out-of-memory"
    title = "Out of memory"


class WorkerDiedError(BusyError):
    """The process that computed the call died, and so did the one that tried it again.

    It was killed from outside, or the computation ended it. Other calls may work: try again later.
    """

    code = "worker-died"
    title = "The process of the call died"


class DeviceFailedError(BusyError):
    """A device of this host computes wrong results or none. The operator has to check it."""

    code = "device-failed"
    title = "A device fails"


class DeviceUnreadyError(BusyError):
    """The process that computes on the device is starting, or is being replaced after a fault.

    Other devices still work, and `"device": "auto"` uses one of them. `GET /devices` gives the
    reason.
    """

    code = "device-unready"
    title = "A device is not ready"


class DeadlineExceededError(ServiceError):
    """The deadline passed before the result was ready. `deadline_ms` can only shorten it."""

    code = "deadline-exceeded"
    title = "The deadline passed"


class InternalError(ServiceError):
    """The fault is in the service, not in the request. Report it with the request id."""

    code = "internal-error"
    title = "The service failed"
