"""The extension module of the service; everything else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

FOLDER = "service/codecs/number_text"

setup(
    ext_modules=[
        Extension(
            "service.codecs.number_text._compiled",
            sources=sorted(glob(f"{FOLDER}/*.c")),
            depends=sorted(glob(f"{FOLDER}/*.h")),
            define_macros=[("Py_LIMITED_API", "0x030b0000")],
            extra_compile_args=["-std=c11", "-O3"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
