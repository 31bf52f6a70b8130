"""The programs of processes beside the server's: `python -m service.executors`.

`template DESCRIPTOR MODULE...` imports the modules, and then forks a worker for each message on its
socket. `worker BELL ARENA` is a worker that was not forked.
"""

import gc
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module

from service.executors.forkserver import RING
from service.executors.shared_memory import Arena
from service.executors.worker_loop import work


def be_template(descriptor: str, *modules: str) -> None:
    """Be the template until the server closes its end of the socket."""
    # Signals from the terminal or the init system are for the server, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()
    line = socket.socket(fileno=int(descriptor))
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, 1, 2)
        if not message:
            return
        reap()
        child = os.fork()
        if not child:
            line.close()
            be_worker(*descriptors)
        # The child cannot be reaped yet, so the number means it.
        pidfd = os.pidfd_open(child)
        try:
            socket.send_fds(line, [RING], [pidfd])
        except ConnectionError:
            return  # the server has ended meanwhile, and the worker will see that, too
        for each in (*descriptors, pidfd):
            os.close(each)


def reap() -> None:
    """Forget workers that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def be_worker(bell: int, arena: int) -> None:
    """Be a worker, and never return to the template's loop."""
    status = 1
    try:
        work(socket.socket(fileno=bell), Arena(arena))
        status = 0
    except (EOFError, ConnectionError):
        pass  # the server has ended
    except BaseException:  # noqa: BLE001  # whatever it is, here it ends
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    if program == "template":
        be_template(*arguments)
    else:
        be_worker(*map(int, arguments))
