"""The extension module and the pages of the service; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

from tools.build_backend import HAS_STABLE_ABI, BuildExtension, BuildPackages, include_folders

FOLDER = Path("service/codecs/number_text")

setup(
    cmdclass={"build_ext": BuildExtension, "build_py": BuildPackages},
    ext_modules=[
        Extension(
            "service.codecs.number_text._compiled",
            sources=sorted(map(str, FOLDER.glob("*.c"))),
            depends=sorted(map(str, FOLDER.glob("*.h"))),
            include_dirs=include_folders() or [],
            # One build serves Python 3.11 and all later ones.
            define_macros=[("Py_LIMITED_API", "0x030b0000")] if HAS_STABLE_ABI else [],
            py_limited_api=HAS_STABLE_ABI,
            extra_compile_args=["-std=c11", "-O3", "-g0", "-fvisibility=hidden"],
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if HAS_STABLE_ABI else {},
)
