"""The settings of the service, from `SERVICE_*` variables of the environment."""

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
    "log_format",
    "log_level",
    "metrics_dir",
    "busy_poll_us",
    "data",
    "dask_scheduler",
)
# A key's SHA-256 in hex, perhaps after a name of its own.
KEY_HASH: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,64}:)?[0-9a-f]{64}")
ORIGIN: Final = re.compile(
    r"\*|https?://[a-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](?::[0-9]{1,5})?"
)


def _slots() -> int:
    return min(4, cores())


def _threads() -> int:
    # Threads that wait for a core at a barrier make a 10 us product take 16 ms: slots times
    # threads stay within the cores.
    return max(1, cores() // _slots())


def _same_as_slots(values: dict[str, Any]) -> int:
    return int(values.get("slots", 1))


def _inflight_bytes() -> int:
    return max(2**28, memory_bytes() // 4)


def _worker_memory_bytes(values: dict[str, Any]) -> int:
    return max(2**28, memory_bytes() // 2 // _same_as_slots(values))


class SettingsError(ValueError):
    """A variable of the environment that cannot be used; the message says which and why."""


class Settings(BaseModel):
    """Every setting, its default and its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Server processes.")
    threads: int = Field(
        default_factory=_threads,
        ge=1,
        le=1024,
        description="Threads of one product; unset, the cores are divided among the slots.",
    )
    device: str = Field(AUTO, description="Device that `auto` stands for.")
    dtype: str = Field("float32", description="dtype of plain arrays that name none.")
    deadline_ms: int = Field(
        30_000, ge=1, description="Longest time of a call, queue included, in milliseconds."
    )
    max_body_bytes: int = Field(128 * 2**20, ge=1, description="Bytes of a request body.")
    max_elements: int = Field(
        2**24, ge=1, description="Elements of an operand, an intermediate or a result."
    )
    max_bytes: int = Field(
        2**30, ge=1, description="Bytes of operands, largest intermediate and result together."
    )
    max_rank: int = Field(16, ge=1, le=64, description="Axes of an operand or a result.")
    max_nesting: int = Field(64, ge=2, le=500, description="Depth of arrays and objects in JSON.")
    slots: int = Field(
        default_factory=_slots,
        ge=1,
        le=1024,
        description="Calls that compute at once; unset, one for each core up to 4.",
    )
    queue: int = Field(64, ge=0, le=100_000, description="Calls that wait for a slot.")
    processes: int = Field(
        default_factory=_same_as_slots,
        ge=1,
        le=1024,
        description="Worker processes, which hold the calls that keep Python busy, or take long; "
        "unset, as many as slots.",
    )
    worker_memory_bytes: int = Field(
        default_factory=_worker_memory_bytes,
        ge=2**26,
        description="Memory that a worker process may allocate; unset, half of the host's or "
        "container's, divided among them.",
    )
    max_inflight_bytes: int = Field(
        default_factory=_inflight_bytes,
        ge=1,
        description="Bytes of all request bodies that are received or worked on; unset, a quarter "
        "of the memory.",
    )
    api_keys: str = Field(
        "",
        repr=False,
        description="Hashes of the keys that may enter, with commas between; "
        "`python -m service key` makes a key and its hash. Unset, no key is asked for.",
    )
    allow_anyone: bool = Field(False, description="Whether to listen beyond loopback without keys.")
    rate: float = Field(
        0,
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="Requests per second of one key, or of one client address without keys, "
        "in each server process; 0 sets no limit.",
    )
    rate_burst: int = Field(
        20, ge=1, le=1_000_000, description="Requests that may come at once within `SERVICE_RATE`."
    )
    cors_origins: str = Field(
        "",
        description="Origins whose pages may call from a browser, with commas between, such as "
        "`https://lab.example.org`; `*` admits all. Unset, none may.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Form of a line of the log: `text` for people, `json` for machines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning",
        description="The least that is logged; from `info` on, a line for each request.",
    )
    metrics_dir: str = Field(
        "",
        description="Folder in which server processes share their figures for `GET /metrics`; "
        "unset, `serve` makes one where there are several.",
    )

    busy_poll_us: int = Field(
        50,
        ge=0,
        le=1_000_000,
        description="Microseconds after an answer in which a server process looks for the next "
        "request without sleeping, so that it need not be woken; 0 lets it sleep at once.",
    )
    max_connections: int = Field(10_240, ge=1, description="Connections open at a time.")
    max_head_bytes: int = Field(
        32_768, ge=256, description="Bytes of a request's first line and headers."
    )
    head_s: float = Field(10, gt=0, description="Seconds until the head of a request is complete.")
    request_s: float = Field(120, gt=0, description="Seconds until a request is complete.")
    write_s: float = Field(120, gt=0, description="Seconds for a client to take an answer.")
    idle_s: float = Field(60, gt=0, description="Seconds that a connection may idle.")
    data: DirectoryPath | None = Field(
        None, description="Folder of stored arrays, which calls refer to and results are kept in."
    )
    dask_scheduler: str | None = Field(
        None, description="Address of a Dask scheduler, such as tcp://10.0.0.1:8786."
    )
    dask_max_bytes: int = Field(
        2**40, ge=1, description="Bytes of operands and result together of a call on the cluster."
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

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, text: str) -> str:
        if not all(ORIGIN.fullmatch(each) for each in listed(text)):
            raise ValueError("each is scheme://host or scheme://host:port in small letters, or *")
        return text

    @property
    def is_open_beyond_loopback(self) -> bool:
        """Whether anyone who reaches this host may call, though nobody said so."""
        return not (self.api_keys or self.allow_anyone or _is_loopback(self.host))

    @property
    def limits(self) -> Limits:
        """The numbers that calls are held to."""
        return Limits(
            self.max_elements,
            self.max_bytes,
            self.max_rank,
            self.deadline_ms,
            self.dask_max_bytes,
        )


def listed(text: str) -> list[str]:
    """The items of a setting that has commas between them."""
    return [item for each in text.split(",") if (item := each.strip())]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def from_environment(environment: Mapping[str, str] = os.environ, **overrides: object) -> Settings:
    """Settings from `SERVICE_*` variables, then `overrides`; SettingsError names a bad one."""
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
        name = PREFIX + str(first["loc"][0]).upper()
        # A key set in place of its hash must not be shown.
        shown = "" if name == PREFIX + "API_KEYS" else f"; it was {first['input']!r}"
        raise SettingsError(f"{name}: {first['msg']}{shown}") from None
