"""The extension module of the service; everything else is in pyproject.toml."""

from setuptools import Extension, setup

FOLDER = "service/codecs/number_text"

setup(
    ext_modules=[
        Extension(
            "service.codecs.number_text._compiled",
            sources=[
                f"{FOLDER}/module.c",
                f"{FOLDER}/writer.c",
                f"{FOLDER}/writer_binding.c",
            ],
            depends=[
                f"{FOLDER}/digits.h",
                f"{FOLDER}/floats.h",
                f"{FOLDER}/powers.h",
                f"{FOLDER}/shortest.h",
                f"{FOLDER}/writer.h",
                f"{FOLDER}/writer_binding.h",
            ],
            define_macros=[("Py_LIMITED_API", "0x030b0000")],
            extra_compile_args=["-std=c11", "-O3"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
