"""Settings from environment variables."""

import os

import pytest
from pydantic import ValidationError

from service.planning.limits import Limits
from service.settings import NO_LIMITS, Settings, SettingsError, from_environment

CORES = len(os.sched_getaffinity(0))


def test_defaults() -> None:
    """Without variables, each setting has its default; slots and threads follow the cores."""
    settings = from_environment({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.dtype) == ("127.0.0.1", 8000, "float32")
    assert settings.slots == min(4, CORES)
    assert 1 <= settings.threads * settings.slots <= max(CORES, settings.slots)


def test_variables() -> None:
    """A variable sets its setting; variables with other prefixes are ignored."""
    settings = from_environment({"SERVICE_PORT": "80", "SERVICE_DTYPE": "float64", "PATH": "/bin"})
    assert (settings.port, settings.dtype) == (80, "float64")


def test_overrides() -> None:
    """An override takes precedence over a variable, unless it is None."""
    settings = from_environment({"SERVICE_PORT": "80", "SERVICE_HOST": "::"}, port=90, host=None)
    assert (settings.port, settings.host) == (90, "::")


def test_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are those of the process, unless others are given."""
    monkeypatch.setenv("SERVICE_QUEUE", "3")
    assert from_environment().queue == 3


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        pytest.param(
            "SERVICE_PORT", "x", "SERVICE_PORT: it has to be a valid integer; it was 'x'$", id="int"
        ),
        pytest.param("SERVICE_PORT", "65536", "SERVICE_PORT: it has to be less than", id="most"),
        pytest.param("SERVICE_WORKERS", "0", "SERVICE_WORKERS: it has to be greater", id="least"),
        pytest.param(
            "SERVICE_DTYPE", "float8", "SERVICE_DTYPE: .*choose one of float32, float64", id="dtype"
        ),
        pytest.param(
            "SERVICE_MAX_ELEMENT",
            "1",
            "SERVICE_MAX_ELEMENT is no setting; did you mean 'SERVICE_MAX_ELEMENTS'",
            id="misspelt",
        ),
        pytest.param("SERVICE_RATE", "-1", "SERVICE_RATE: it has to be greater", id="rate"),
        pytest.param("SERVICE_RATE", "nan", "SERVICE_RATE: it has to be a finite", id="nan"),
        pytest.param(
            "SERVICE_LOG_FORMAT", "xml", "SERVICE_LOG_FORMAT: .*'text' or 'json'", id="log"
        ),
        pytest.param(
            "SERVICE_CORS_ORIGINS",
            "https://a.example.org/",
            "SERVICE_CORS_ORIGINS: each is scheme://host",
            id="origin",
        ),
        pytest.param(
            "SERVICE_CORS_ORIGINS",
            "https://a.example.org:99999",
            "SERVICE_CORS_ORIGINS: each is scheme://host",
            id="port of an origin",
        ),
        pytest.param(
            "SERVICE_ALLOW_ANYONE",
            "maybe",
            "SERVICE_ALLOW_ANYONE: it has to be a valid boolean; it was 'maybe'$",
            id="boolean",
        ),
        pytest.param(
            "SERVICE_EMBED_ORIGINS",
            "example.org",
            "SERVICE_EMBED_ORIGINS: .*scheme://host",
            id="framing origin",
        ),
        pytest.param(
            "SERVICE_EMBED_ORIGINS",
            "https://a.example.org, http://[::1]:8000",
            "SERVICE_EMBED_ORIGINS: .*no IPv6 address.*; use a name .* it was 'https://a",
            id="framing origin by IPv6",
        ),
        pytest.param("SERVICE_", "1", "SERVICE_ is no setting; ", id="no name"),
        pytest.param(
            "SERVICE_QQQQQQQQQQQQQQ",
            "1",
            "SERVICE_QQQQQQQQQQQQQQ is no setting; known are SERVICE_HOST, SERVICE_PORT",
            id="unknown",
        ),
    ],
)
def test_unusable(variable: str, value: str, message: str) -> None:
    """A variable that cannot be used is named, with what is wrong or what exists."""
    with pytest.raises(SettingsError, match=message):
        from_environment({variable: value})


@pytest.mark.parametrize("text", ["tsk_secret", f"{'a' * 64} tsk_secret", f"tsk_secret:{'A' * 64}"])
def test_a_key_in_place_of_its_hash_is_not_shown(text: str) -> None:
    """A key in place of its hash is not shown in the message, which is logged."""
    with pytest.raises(SettingsError, match=r"SERVICE_API_KEYS: .*python -m service key") as raised:
        from_environment({"SERVICE_API_KEYS": text})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "https://a.example.org",
        "http://localhost:5173, http://127.0.0.1:80,",
    ],
)
def test_origins(text: str) -> None:
    """An origin is scheme, host and perhaps a port, as a browser sends it."""
    assert Settings(cors_origins=text).cors_origins == text
    assert Settings(embed_origins=text).embed_origins == text


def test_an_ipv6_origin() -> None:
    """Its pages may call the service, though they may not frame a page of it."""
    assert Settings(cors_origins="http://[::1]:80").cors_origins == "http://[::1]:80"


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("", True),
        ("192.0.2.1", True),
        ("localhost.example.org", True),
    ],
)
def test_open_beyond_loopback(host: str, reached: bool) -> None:
    """A host beyond loopback is open unless keys are set; `allow_anyone` accepts that."""
    assert Settings(host=host).is_open_beyond_loopback == reached
    assert not Settings(host=host, api_keys="a" * 64).is_open_beyond_loopback
    assert not Settings(host=host, allow_anyone=True).is_open_beyond_loopback


def test_settings_do_not_change() -> None:
    """Settings are immutable."""
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # what is tested


def test_limits() -> None:
    """The limits of calls are the settings of the same name."""
    settings = from_environment(
        {
            "SERVICE_MAX_ELEMENTS": "1",
            "SERVICE_MAX_BYTES": "2",
            "SERVICE_MAX_RANK": "3",
            "SERVICE_DEADLINE_MS": "4",
        }
    )
    assert settings.limits == Limits(max_elements=1, max_bytes=2, max_rank=3, deadline_ms=4)


def test_described() -> None:
    """Every setting has a description, and those that are no limits exist."""
    assert all(field.description for field in Settings.model_fields.values())
    assert set(NO_LIMITS) < set(Settings.model_fields)
