"""Open files: each connection is one. Without one more, nobody can be told that there is none."""

import resource
from typing import Final

from service.settings import Settings

# What a server opens besides: listeners, logs, stored arrays, connections that are being refused.
OTHERS: Final = 512
# Of each worker process its socket, its arena, and what stands for it.
OF_WORKER: Final = 3


def make_room(settings: Settings) -> int:
    """How many connections there is room for: as set, or what the limit of open files leaves.

    The limit (`ulimit -n`) is often 1024 and may be raised by the process itself, up to another.
    """
    others = OTHERS + OF_WORKER * settings.processes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + others
    if _is_less(soft, wanted):
        soft = hard if _is_less(hard, wanted) else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if not _is_less(soft, wanted):
        return settings.max_connections
    return max(1, soft - others, soft // 2)


def _is_less(limit: int, wanted: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < wanted
