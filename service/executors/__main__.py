"""Entry points of the processes beside the server's: `python -m service.executors`.

`fork-server DESCRIPTOR MODULE...` imports the modules, and then forks a worker for each message on
its socket. `worker SOCKET BUFFER...` is a worker in a fresh interpreter; all arguments are
descriptors.
"""

import gc
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Final

from service.executors.forkserver import MESSAGE
from service.executors.shared_buffer import SharedBuffer
from service.executors.worker_loop import worker_main

# Of a worker: its socket, and its buffers.
MOST_DESCRIPTORS: Final = 8


def run_fork_server(descriptor: str, *modules: str) -> None:
    """Fork workers on request until the server closes its end of the socket."""
    # Signals from the terminal or the init system are for the server, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=int(descriptor))
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1, MOST_DESCRIPTORS)
        except ConnectionResetError:  # the server was killed while it sent a request
            return
        if not message:
            return
        reap()
        child = os.fork()
        if not child:
            control.close()
            run_worker(*descriptors)
        # The child has not been reaped yet, so its process id is not another one's.
        pidfd = os.pidfd_open(child)
        try:
            socket.send_fds(control, [MESSAGE], [pidfd])
        except ConnectionError:
            return  # the server has ended meanwhile; the worker notices it by its own socket
        for each in (*descriptors, pidfd):
            os.close(each)


def reap() -> None:
    """Reap workers that have exited."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def run_worker(socket_descriptor: int, *buffer_descriptors: int) -> None:
    """Serve requests as a worker, and exit: this never returns to the fork server's loop."""
    status = 1
    try:
        buffers = [SharedBuffer(each) for each in buffer_descriptors]
        worker_main(socket.socket(fileno=socket_descriptor), buffers)
        status = 0
    except (EOFError, ConnectionError):
        pass  # the server has ended
    except BaseException:  # noqa: BLE001  # no exception may leave a forked worker
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    if program == "fork-server":
        run_fork_server(*arguments)
    else:
        run_worker(*map(int, arguments))
