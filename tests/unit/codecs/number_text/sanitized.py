"""The quick corpus by a build that watches memory and arithmetic; to run it, see its test.

`service.codecs` imports torch, which takes seconds under the sanitizer and is not what is tested.
A package of the same name without its content stands in for it.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Final

FOLDER: Final = Path(__file__).parents[4] / "service" / "codecs"
SOURCES: Final = FOLDER / "number_text"
PACKAGE: Final = "service.codecs.number_text"
FLAGS: Final = (
    "-std=c11", "-O1", "-g", "-fPIC", "-shared", "-pthread", "-fno-omit-frame-pointer",
    "-DPy_LIMITED_API=0x030b0000",
)  # fmt: skip
# The library of each, which has to be loaded before everything else.
LIBRARIES: Final = {"address,undefined": "libasan.so", "thread": "libtsan.so"}
# The interpreter keeps memory to its end, and its own allocator hides where an object ends.
# Readers look at 32 bytes, of which the last may still arrive, and use those before a comma.
OPTIONS: Final = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "suppressions={folder}/suppressions",
    "PYTHONMALLOC": "malloc",
}
SUPPRESSIONS: Final = "race:bytearray_setslice_linear\n"
# In place of the question which instructions the processor has: none but those that all have.
PORTABLE: Final = "-D__builtin_cpu_supports(name)=0"


def build(compiler: str, sanitizers: str, folder: Path, *more: str) -> Path:
    """Compile the extension module with sanitizers; CalledProcessError if that fails."""
    target = folder / "_compiled.abi3.so"
    command = [compiler, *FLAGS, *more, f"-fsanitize={sanitizers}", "-o", str(target)]
    command += [f"-I{sysconfig.get_path('include')}", *sorted(map(str, SOURCES.glob("*.c")))]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def environment(library: str, folder: Path) -> dict[str, str]:
    """Return the variables of a process that loads the build."""
    (folder / "suppressions").write_text(SUPPRESSIONS, encoding="ascii")
    options = {name: value.format(folder=folder) for name, value in OPTIONS.items()}
    return os.environ | options | {"LD_PRELOAD": library}


def runtime(compiler: str, sanitizers: str) -> str | None:
    """Return the path of the library that has to be loaded first, or None if there is none."""
    asked = [compiler, f"-print-file-name={LIBRARIES[sanitizers]}"]
    found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    return found if Path(found).is_absolute() else None


def load(path: str) -> None:
    """Import this build in place of the installed one."""
    package = ModuleType("service.codecs")
    package.__path__ = [str(FOLDER)]
    sys.modules["service.codecs"] = package
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}._compiled", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def main() -> int:
    """Read and write everything once, and say how much it was."""
    load(sys.argv[1])
    from tests.unit.codecs.number_text import corpus

    sys.stdout.write(f"{corpus.run()} texts were taken\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
