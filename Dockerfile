# The service in an image: built in one stage, run in another that has no compiler, no sources and no cache of pip.
#
#   docker build -t tensor-service .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -e SERVICE_ALLOW_ANYONE=true tensor-service
#
# Inside, it listens on all addresses, so it wants keys (-e SERVICE_API_KEYS=...), or to be told that anyone who reaches it may
# call: the line above publishes it to this host alone.
#
# Which torch: with TORCH_INDEX_URL empty it comes from the same index as the rest, which for Linux on x86_64 means the CUDA
# build (several GB, runs without a GPU too). For the small CPU build, or for another CUDA, give the address of PyTorch's
# index of such builds: --build-arg TORCH_INDEX_URL=...
#
# To send spans to an OpenTelemetry collector: --build-arg EXTRAS=otel, and OTEL_EXPORTER_OTLP_ENDPOINT when it runs.

ARG PYTHON_VERSION=3.11-slim

FROM python:${PYTHON_VERSION} AS build

ARG TORCH_INDEX_URL=""
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

RUN python -m venv /app/venv
ENV PATH=/app/venv/bin:$PATH

# The dependencies come before the code, so that a change of the code does not fetch torch again.
# torch's own index may lack the pinned versions of the rest: from there it comes alone.
COPY pyproject.toml constraints.txt ./
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
      pip install --no-deps --index-url "$TORCH_INDEX_URL" --constraint constraints.txt torch; \
    fi \
 && python -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *(d for e in sys.argv[1:] for d in p["optional-dependencies"][e]), sep="\n")' $EXTRAS \
      > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt

# This stage has no C compiler but Zig's, from a wheel of 100 MB. It comes before the code, too.
RUN python -m venv /build \
 && /build/bin/pip install --constraint constraints.txt setuptools ziglang

COPY CONTRIBUTING.md LICENSE setup.py ./
COPY docs ./docs
COPY tools ./tools
COPY service ./service
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip install --no-deps /wheels/*.whl


FROM python:${PYTHON_VERSION}

LABEL org.opencontainers.image.title="tensor-service" \
      org.opencontainers.image.description="Matrix products, einsum, norms and broadcasting over HTTP, by several strategies" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"

# A fixed number, so that a volume or a policy of the host can name it.
RUN groupadd --gid 10001 service \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin service

COPY --from=build /app/venv /app/venv

# The root file system may be read-only: bytecode was compiled when the stage above installed, and what a library wants to
# write in a home goes to /tmp.
ENV PATH=/app/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000

# http.client and not urllib: a proxy set in the environment must not come between. Ready, not just alive: it fails while the
# service warms up or drains.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]

CMD ["python", "-m", "service", "serve", "--host", "0.0.0.0", "--port", "8000"]
