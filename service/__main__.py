"""Command line of the service: `python -m service COMMAND`, or `tensor-service COMMAND`.

A command imports the modules it needs when it runs, so that `--help` loads no torch.
"""

import os
import shlex
import signal
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - pip would refuse, but nothing is installed yet
    sys.exit(
        f"the service needs Python 3.11 or newer; {sys.executable} is "
        f"{sys.version.partition(' ')[0]}. `make run PYTHON=python3.12` sets up .venv with another"
    )
if sys.platform != "linux":
    sys.exit(
        "the service runs on Linux, whose shared memory and process descriptors its workers use; "
        f"this is {sys.platform}. Here it runs in a container, `docker compose up api`, or in WSL "
        "on Windows. The Python client runs everywhere"
    )

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, TextIO

from service.cli.parser import Parser, command_line, examples, format_list
from service.errors import InvalidFieldError, ServiceError, did_you_mean, quote

# The status that a script sees of a program that SIGPIPE ends, as it ends `cat` before `head`.
READER_GONE: Final = 128 + signal.SIGPIPE
OPENAPI: Final = Path("openapi/openapi.json")
SUMMARIES: Final = {
    "serve": "serve HTTP, until Ctrl-C or a signal ends it",
    "plan": "say what a call means and costs, and compute nothing",
    "compare": "race the strategies of an operation or a chain, or sweep over sizes",
    "key": "make an API key, and the hash that SERVICE_API_KEYS takes",
    "strategies": "list the strategies of each operation",
    "openapi": f"write the OpenAPI document, {OPENAPI}",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 2 for an error of the caller, printed with a hint.

    Without `arguments`, those of the process are used. If the reader of the output has ended, as
    `head` does early, so does the command, without a message.
    """
    try:
        try:
            return _run_command(sys.argv[1:] if arguments is None else arguments)
        finally:
            for stream in _outputs():
                stream.flush()
    except BrokenPipeError:
        status = READER_GONE
    except OSError as error:
        print(error, file=sys.stderr)
        status = 2
    _drop_output()
    return status


def _outputs() -> Iterator[TextIO]:
    """Return standard output and error, without one that was closed when the process began."""
    return filter(None, (sys.stdout, sys.stderr))


def _drop_output() -> None:
    """Drop what an output that failed still holds.

    The interpreter would flush it again as it ends, and print a traceback.
    """
    for stream in _outputs():
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _run_command(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status; print an error of the caller with its hint."""
    name, *rest = arguments or [""]
    try:
        if name in ("-h", "--help", "help"):
            _parser().parse_args(["--help"])
        if name in ("-V", "--version"):
            print(f"tensor-service {version('tensor-service')}")
            return 0
        return _command(name, rest)(rest)
    except ServiceError as error:
        print(error.detail, file=sys.stderr)
        if error.hint is not None:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "service").startswith("service"):
            raise
        print(
            f"{error.name} is not installed for {sys.executable}. `make run` installs all "
            f"that is needed into .venv, and serves; then .venv/bin/{command_line()} works",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _command(name: str, rest: Sequence[str]) -> Callable[[Sequence[str]], int]:
    """Return the command of this name; raise InvalidFieldError if there is none."""
    commands = {
        "serve": serve,
        "plan": plan,
        "compare": compare,
        "key": key,
        "strategies": strategies,
        "openapi": openapi,
    }
    if name not in commands:
        asked = f"there is no command {quote(name)}" if name else "a command comes first"
        hint = did_you_mean(name, commands) or f"{command_line('--help')} says what each does"
        if "--shapes" in rest:  # an operation without its command
            hint = f"plan or compare comes first: {command_line(shlex.join(['plan', name, *rest]))}"
        raise InvalidFieldError(f"{asked}; the commands are {', '.join(commands)}", hint=hint)
    return commands[name]


def _parser() -> Parser:
    """Return the parser of `--help` without a command."""
    parser = Parser(
        "",
        "Matrix products, einsum, norms and broadcasting over HTTP, each by several strategies.\n\n"
        f"commands:\n{format_list(SUMMARIES)}",
        epilog=examples(
            "serve",
            "plan matmul --shapes 1000x1000 1000x1000",
            "compare matmul --shapes 5x784 784x10",
            "compare matmul --help",
        ),
    )
    parser.usage = "%(prog)s COMMAND ...; each command has a --help of its own"
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    return parser


def plan(arguments: Sequence[str]) -> int:
    """Print the plan of a call on operands of the given shapes."""
    from service.cli.plan import plan

    return _run(plan, arguments)


def compare(arguments: Sequence[str]) -> int:
    """Race the strategies of an operation and print the results."""
    from service.cli.compare import compare

    return _run(compare, arguments)


def _run(command: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    """Run a command that computes; return 2 for a wrong setting."""
    from service.settings import SettingsError

    try:
        command(arguments)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def serve(arguments: Sequence[str]) -> int:
    """Serve HTTP until a signal ends the process."""
    parser = Parser(
        "serve",
        "Serves HTTP. Each option stands before its variable, SERVICE_HOST and so on; variables\n"
        "alone set the rest: docs/settings.md lists them.",
        epilog=examples("serve", "serve --port 9000", "serve --port 0 --workers 2")
        + f"\n  SERVICE_DEADLINE_MS=5000 {command_line('serve')}",
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port; 0 takes a free one (8000)")
    parser.add_argument("--workers", help="server processes (1)")
    options = parser.parse(arguments)

    from service.core.host import limit_spins

    limit_spins()  # before torch is imported

    from service.server.preflight import check, greeting
    from service.server.run import serve
    from service.settings import SettingsError, from_environment

    try:
        settings = from_environment(host=options.host, port=options.port, workers=options.workers)
        settings = check(settings)
    except SettingsError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 2
    print(greeting(settings), flush=True)
    return serve(settings)


def key(arguments: Sequence[str]) -> int:
    """Print a new API key and its hash."""
    Parser(
        "key",
        "Makes an API key, and the hash that SERVICE_API_KEYS takes.",
        epilog=examples("key")
        + f"\n  SERVICE_API_KEYS=HASH {command_line('serve --host 0.0.0.0')}",
    ).parse(arguments)

    from service.http.auth import key_hash, new_key

    made = new_key()
    print(f"key   {made}")
    print(f"hash  {key_hash(made.encode())}")
    print(
        "The key is for the client and is kept nowhere; the hash is for SERVICE_API_KEYS, which "
        "takes several with commas between, each with a name if you like: name:hash",
        file=sys.stderr,
    )
    return 0


def strategies(arguments: Sequence[str]) -> int:
    """Print the strategies of each operation, slowest first."""
    Parser(
        "strategies",
        "Lists the strategies of each operation, slowest first.",
        epilog=examples("strategies"),
    ).parse(arguments)

    from service.operations import REGISTRY

    for op in REGISTRY.values():
        print(f"{op.name}: {op.summary}")
        print(format_list({each.name: each.summary for each in op.strategies.values()}))
    return 0


def openapi(arguments: Sequence[str]) -> int:
    """Write the OpenAPI document, or with `--check` return 1 if the file is stale."""
    summary = SUMMARIES["openapi"]
    parser = Parser(
        "openapi",
        f"{summary[0].upper()}{summary[1:]}; run it in the root of the repository.",
        epilog=examples("openapi", "openapi --check"),
    )
    parser.add_argument("--check", action="store_true", help="only say whether it is stale")
    check = parser.parse(arguments).check

    from service.api.app import create_app
    from service.api.openapi.document import render
    from service.settings import Settings

    text = render(create_app(Settings()).openapi())
    if not check:
        OPENAPI.parent.mkdir(parents=True, exist_ok=True)
        OPENAPI.write_text(text, encoding="utf-8")
        print(f"wrote {OPENAPI}")
    elif not OPENAPI.exists() or OPENAPI.read_text(encoding="utf-8") != text:
        print(f"{OPENAPI} is stale: run `make openapi docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
