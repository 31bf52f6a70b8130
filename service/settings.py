"""Settings of the service, from `SERVICE_*` environment variables."""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, DirectoryPath, Field, ValidationError, field_validator

from service.core.call import AUTO
from service.core.dtypes import DTYPES
from service.core.host import cores, memory_bytes
from service.errors import did_you_mean
from service.planning.limits import Limits

PREFIX: Final = "SERVICE_"
NO_LIMITS: Final = (
    "host",
    "port",
    "workers",
    "device",
    "dtype",
    "api_keys",
    "allow_anyone",
    "cors_origins",
    "embed_origins",
    "log_format",
    "log_level",
    "metrics_dir",
    "busy_poll_us",
    "data",
    "dask_scheduler",
)
# SHA-256 of a key in hex, optionally after a name and a colon.
KEY_HASH: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,64}:)?[0-9a-f]{64}")
ORIGIN: Final = re.compile(
    r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?",
)
MAX_PORT: Final = 65_535


def _slots() -> int:
    """Return the default number of slots."""
    return min(4, cores())


def _threads() -> int:
    """Return the default number of threads of one product."""
    # Slots times threads stay within the cores: threads that wait for a core at a barrier make a
    # 10 us product take 16 ms.
    return max(1, cores() // _slots())


def _same_as_slots(values: dict[str, Any]) -> int:
    """Return the number of slots."""
    return int(values.get("slots", 1))


def _inflight_bytes() -> int:
    """Return a quarter of the memory, at least 256 MiB."""
    return max(2**28, memory_bytes() // 4)


def _worker_memory_bytes(values: dict[str, Any]) -> int:
    """Return half of the memory divided by the slots, at least 256 MiB."""
    return max(2**28, memory_bytes() // 2 // _same_as_slots(values))


class SettingsError(ValueError):
    """An environment variable that cannot be used; the message gives its name and the reason."""


class Settings(BaseModel):
    """Every setting, its default and its description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Server processes.")
    threads: int = Field(
        default_factory=_threads,
        ge=1,
        le=1024,
        description="Threads of one operation; by default the cores divided by the slots.",
    )
    calibrate: bool = Field(
        True, description="Measure dtypes other than float32 in the background after the start."
    )
    device: str = Field(AUTO, description="Device that `auto` stands for.")
    dtype: str = Field("float32", description="dtype of nested lists and numbers that state none.")
    deadline_ms: int = Field(
        30_000, ge=1, description="Longest time of a call in milliseconds, including the queue."
    )
    max_body_bytes: int = Field(
        128 * 2**20, ge=1, description="Largest size of a request body, in bytes."
    )
    max_elements: int = Field(
        2**24, ge=1, description="Most elements of an operand, an intermediate or a result."
    )
    max_bytes: int = Field(
        2**30, ge=1, description="Most bytes of operands, largest intermediate and result together."
    )
    max_rank: int = Field(16, ge=1, le=64, description="Most axes of an operand or a result.")
    max_nesting: int = Field(64, ge=2, le=500, description="Greatest nesting depth of JSON.")
    slots: int = Field(
        default_factory=_slots,
        ge=1,
        le=1024,
        description="Calls that compute at the same time; by default one for each core, up to 4.",
    )
    queue: int = Field(64, ge=0, le=100_000, description="Most calls that wait for a slot.")
    processes: int = Field(
        default_factory=_same_as_slots,
        ge=1,
        le=1024,
        description="Worker processes, for calls that keep the interpreter busy or take long; by "
        "default as many as slots.",
    )
    worker_memory_bytes: int = Field(
        default_factory=_worker_memory_bytes,
        ge=2**26,
        description="Memory in bytes that a worker process may allocate; by default half of the "
        "memory of the host or container, divided by the slots.",
    )
    max_inflight_bytes: int = Field(
        default_factory=_inflight_bytes,
        ge=1,
        description="Most bytes of all request bodies that are being received or processed; by "
        "default a quarter of the memory.",
    )
    api_keys: str = Field(
        "",
        repr=False,
        description="Hashes of valid API keys, separated by commas; `python -m service key` makes "
        "a key and its hash. Unset, no key is needed.",
    )
    allow_anyone: bool = Field(False, description="Allow listening beyond loopback without keys.")
    rate: float = Field(
        0,
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="Most requests per second of one key, or of one client address if there are no "
        "keys, in each server process; 0 sets no limit.",
    )
    rate_burst: int = Field(
        20, ge=1, le=1_000_000, description="Most requests in a burst within `SERVICE_RATE`."
    )
    cors_origins: str = Field(
        "",
        description="Origins of web pages that may call the service, separated by commas, such as "
        "`https://lab.example.org`; `*` allows all. Unset, none is allowed.",
    )
    embed_origins: str = Field(
        "",
        description="Origins of web pages that may frame the lab page, `/?embed=1`, separated by "
        "commas; `*` allows all. Unset, none may.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of log lines: `text` for people, `json` for machines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning",
        description="Least severe level that is logged; `info` and `debug` log each request.",
    )
    metrics_dir: str = Field(
        "",
        description="Folder in which several server processes share their metrics for "
        "`GET /metrics`; by default `serve` creates one if there are several.",
    )

    busy_poll_us: int = Field(
        50,
        ge=0,
        le=1_000_000,
        description="Microseconds after a response during which a server process polls for the "
        "next request without sleeping, which saves the time to wake up; 0 disables it.",
    )
    max_connections: int = Field(10_240, ge=1, description="Most open connections.")
    max_head_bytes: int = Field(
        32_768, ge=256, description="Most bytes of request line and headers."
    )
    head_s: float = Field(
        10, gt=0, description="Longest time in seconds to receive request line and headers."
    )
    request_s: float = Field(120, gt=0, description="Longest time in seconds to receive a request.")
    write_s: float = Field(120, gt=0, description="Longest time in seconds to send a response.")
    idle_s: float = Field(
        60, gt=0, description="Longest time in seconds that a connection may be idle."
    )
    data: DirectoryPath | None = Field(
        None, description="Folder of stored arrays, which calls read and results are written to."
    )
    dask_scheduler: str | None = Field(
        None, description="Address of a Dask scheduler, such as tcp://10.0.0.1:8786."
    )
    dask_max_bytes: int = Field(
        2**40,
        ge=1,
        description="Most bytes of operands and result together, for a call on the cluster.",
    )

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, name: str) -> str:
        if name not in DTYPES:
            raise ValueError(f"choose one of {', '.join(DTYPES)}")
        return name

    @field_validator("api_keys")
    @classmethod
    def _hashed_keys(cls, text: str) -> str:
        if not all(KEY_HASH.fullmatch(each) for each in listed(text)):
            raise ValueError(
                "each is a SHA-256 in 64 small hex digits, or name:SHA-256; "
                "`python -m service key` makes a key and its hash"
            )
        return text

    @field_validator("cors_origins", "embed_origins")
    @classmethod
    def _exact_origins(cls, text: str) -> str:
        found = [ORIGIN.fullmatch(each) for each in listed(text)]
        if not all(match and int(match["port"] or 0) <= MAX_PORT for match in found):
            raise ValueError("each is scheme://host or scheme://host:port in small letters, or *")
        return text

    @field_validator("embed_origins")
    @classmethod
    def _origins_without_ipv6(cls, text: str) -> str:
        if "[" in text:
            raise ValueError(
                "browsers take no IPv6 address as the origin of a frame (Content-Security-Policy "
                "has none); use a name of that host, such as http://localhost:8000"
            )
        return text

    @property
    def is_open_beyond_loopback(self) -> bool:
        """True if the service listens beyond loopback without keys and without `allow_anyone`."""
        return not (self.api_keys or self.allow_anyone or _is_loopback(self.host))

    @property
    def limits(self) -> Limits:
        """The limits of calls."""
        return Limits(
            self.max_elements,
            self.max_bytes,
            self.max_rank,
            self.deadline_ms,
            self.dask_max_bytes,
        )


def listed(text: str) -> list[str]:
    """Return the items of a setting that is separated by commas."""
    return [item for each in text.split(",") if (item := each.strip())]


def _is_loopback(host: str) -> bool:
    """Return whether the address is reachable from this host only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def from_environment(environment: Mapping[str, str] = os.environ, **overrides: object) -> Settings:
    """Return settings from `SERVICE_*` variables, then `overrides`; None overrides nothing.

    Raises a SettingsError for an unknown variable or an invalid value.
    """
    values: dict[str, object] = {}
    for variable, value in environment.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            if name not in Settings.model_fields:
                known = [PREFIX + field.upper() for field in Settings.model_fields]
                hint = did_you_mean(variable, known) or f"known are {', '.join(known)}"
                raise SettingsError(f"{variable} is no setting; {hint}")
            values[name] = value
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        wanted = first["msg"].removeprefix("Value error, ").partition(", unable to")[0]
        wanted = wanted.replace("Input should be", "it has to be")
        name = PREFIX + str(first["loc"][0]).upper()
        # A key that was set instead of its hash must not be shown.
        shown = "" if name == PREFIX + "API_KEYS" else f"; it was {first['input']!r}"
        raise SettingsError(f"{name}: {wanted}{shown}") from None
