"""The command line: serve, compare, plan, key, strategies, openapi, docs."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - pip would refuse, but nothing is installed yet
    sys.exit(
        f"the service needs Python 3.11 or newer; {sys.executable} is "
        f"{sys.version.partition(' ')[0]}. `make run PYTHON=python3.12` sets up .venv with another"
    )

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from service.cli.parser import PROGRAM, Parser, examples, listed
from service.errors import InvalidFieldError, ServiceError, did_you_mean, quote

OPENAPI: Final = Path("openapi/openapi.json")
SUMMARIES: Final = {
    "serve": "serve HTTP, until Ctrl-C or a signal ends it",
    "plan": "say what a call means and costs, and compute nothing",
    "compare": "race the strategies of an operation, or sweep over sizes",
    "key": "make an API key, and the hash that SERVICE_API_KEYS takes",
    "strategies": "list the strategies of each operation",
    "openapi": f"write the OpenAPI document, {OPENAPI}",
    "docs": "write the generated pages of docs/, and the README's table",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status: 2 if it was refused, which is told with a hint."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    try:
        if name in ("-h", "--help"):
            _parser().parse_args(["--help"])
        return _command(name)(rest)
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
            f"that is needed into .venv, and serves; then .venv/bin/{PROGRAM} works",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _command(name: str) -> Callable[[Sequence[str]], int]:
    commands = {
        "serve": serve,
        "plan": plan,
        "compare": compare,
        "key": key,
        "strategies": strategies,
        "openapi": openapi,
        "docs": docs,
    }
    if name not in commands:
        asked = f"there is no command {quote(name)}" if name else "a command comes first"
        raise InvalidFieldError(
            f"{asked}; the commands are {', '.join(commands)}",
            hint=did_you_mean(name, commands) or f"{PROGRAM} --help says what each does",
        )
    return commands[name]


def _parser() -> Parser:
    parser = Parser(
        PROGRAM,
        "Matrix products, einsum, norms and broadcasting over HTTP, each by several strategies.\n\n"
        f"commands:\n{listed(SUMMARIES)}",
        epilog=examples(
            "serve",
            "plan matmul --shapes 1000x1000 1000x1000",
            "compare matmul --shapes 5x784 784x10",
            "compare matmul --help",
        ),
    )
    parser.usage = "%(prog)s COMMAND ...; each command has a --help of its own"
    return parser


def plan(arguments: Sequence[str]) -> int:
    """Plan a call on operands of the given shapes."""
    from service.cli.plan import plan

    return _ask(plan, arguments)


def compare(arguments: Sequence[str]) -> int:
    """Race the strategies of an operation."""
    from service.cli.compare import compare

    return _ask(compare, arguments)


def _ask(command: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    from service.settings import SettingsError

    try:
        command(arguments)
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def serve(arguments: Sequence[str]) -> int:
    """Serve until a signal ends it."""
    parser = Parser(
        f"{PROGRAM} serve",
        "Serves HTTP. Each option stands before its variable, SERVICE_HOST and so on; variables\n"
        "alone set the rest: docs/settings.md lists them.",
        epilog=examples("serve", "serve --port 9000", "serve --port 0 --workers 2")
        + f"\n  SERVICE_DEADLINE_MS=5000 {PROGRAM} serve",
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port; 0 takes a free one (8000)")
    parser.add_argument("--workers", help="server processes (1)")
    options = parser.parse(arguments)

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
    """Make an API key, and print it with its hash."""
    Parser(f"{PROGRAM} key", "Makes an API key, and the hash that SERVICE_API_KEYS takes.").parse(
        arguments
    )

    from service.api.auth import key_hash, new_key

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
    """List the strategies, slowest first."""
    Parser(f"{PROGRAM} strategies", "Lists the strategies of each operation, slowest first.").parse(
        arguments
    )

    from service.operations import REGISTRY

    for op in REGISTRY.values():
        print(f"{op.name}: {op.summary}")
        print(listed({each.name: each.summary for each in op.strategies.values()}))
    return 0


def openapi(arguments: Sequence[str]) -> int:
    """Write the OpenAPI document, or check the one that is there."""
    check = _checks("openapi", arguments)

    from service.api.app import create_app
    from service.api.openapi.document import render
    from service.settings import Settings

    return _write(OPENAPI, render(create_app(Settings()).openapi()), check=check)


def docs(arguments: Sequence[str]) -> int:
    """Write the generated pages of the documentation, or check those that are there."""
    check = _checks("docs", arguments)

    from service.operations import REGISTRY
    from tools.reference import pages

    return max(_write(path, text, check=check) for path, text in pages(REGISTRY).items())


def _checks(command: str, arguments: Sequence[str]) -> bool:
    """Whether the command that writes files is to check them only."""
    summary = SUMMARIES[command]
    parser = Parser(
        f"{PROGRAM} {command}",
        f"{summary[0].upper()}{summary[1:]}; run it in the root of the repository.",
        epilog=examples(command, f"{command} --check"),
    )
    parser.add_argument("--check", action="store_true", help="only say whether it is stale")
    return bool(parser.parse(arguments).check)


def _write(path: Path, text: str, *, check: bool) -> int:
    if check:
        fresh = path.exists() and path.read_text(encoding="utf-8") == text
        if not fresh:
            print(f"{path} is stale: run `make openapi docs`", file=sys.stderr)
        return 0 if fresh else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
