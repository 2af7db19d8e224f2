"""Settings: flags over environment (`EMOTION_...`) over TOML over what was measured over default; unknown keys stop."""

import math
import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from emotion.errors import SettingsInvalid
from emotion.labels import Language

ENVIRONMENT_PREFIX = "EMOTION_"
CONFIG_VARIABLE = "EMOTION_CONFIG"
PROFILE_VARIABLE = "EMOTION_PROFILE"
_HOUSE_CONFIG = Path(__file__).parent.parent / "config" / "default.toml"
# Below `outputs`, each client that is asked for a key or a password has a folder of outputs of its own.
CLIENTS_FOLDER = "clients"
PROFILES = ("personal", "team", "production")
# What `cache` meant before 0.4.0 is worth a word of its own.
_CACHE_MOVED = "it is off, memory, disk or redis://...; the folder of models is called model_cache"
Hub = Literal["modelscope", "hf"]
Runtime = Literal["auto", "torch", "openvino", "funasr"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


class Settings(BaseModel):
    """Every setting with its one default; the description of each is its help text."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # The model
    model: str = Field("auto", description="auto, compact, emotion2vec_plus_large, _base, _seed, a hub id or a folder")
    hub: Hub = Field("modelscope", description="where models are downloaded: modelscope or hf (Hugging Face)")
    offline: bool = Field(False, description="never use the network")
    hub_timeout_s: float = Field(5.0, gt=0, description="how long a hub may take to answer before it counts as away")
    runtime: Runtime = Field("auto", description="auto (the fastest), torch, openvino, or funasr (the reference)")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1")
    precision: Precision = Field(
        "auto", description="auto (half where it is computed natively), fp32, bf16, fp16 (graphics cards), int8"
    )
    offload_blocks: int = Field(
        0, ge=0, description="transformer blocks that stay in main memory beside a small graphics card"
    )
    model_cache: Path | None = Field(None, description="folder of models; default: the user's cache folder")

    # Threads: 0 means by the machine
    inference_threads: int = Field(0, ge=0, description="threads of the network; 0: every physical core on a CPU")
    decode_threads: int = Field(0, ge=0, description="recordings decoded at once; 0: half of the logical cores")

    # Recordings
    max_file_bytes: int = Field(200_000_000, gt=0, description="largest file that is read")
    max_clip_s: float = Field(3 * 3600.0, gt=0, description="longest recording, counted while decoding")
    max_channels: int = Field(32, gt=0, description="most channels that are mixed down")
    min_rate_hz: int = Field(1_000, gt=0, description="lowest sample rate that is believed")
    max_rate_hz: int = Field(768_000, gt=0, description="highest sample rate that is believed")

    # Analysis
    exact_limit_s: float = Field(60.0, gt=0, description="up to here a recording goes through the model at once")
    window_s: float = Field(30.0, ge=1, description="length of the windows of longer recordings")
    context_s: float = Field(3.0, ge=0, description="sound on each side of a window that only gives context")
    smoothing_s: float = Field(0.5, ge=0, description="moving average over frame scores before segments are cut")
    min_segment_s: float = Field(0.4, ge=0, description="shorter segments join their neighbour")
    uncertain_margin: float = Field(
        0.15, ge=0, le=1, description="lead of the first emotion under which a result counts as uncertain"
    )

    # Engine and output
    batch_frames: int = Field(
        0, ge=0, description="frames of a batch, 50 a second; 1: no batches; 0: the server measures what pays"
    )
    batch_wait_ms: float = Field(5.0, ge=0, description="how long a batch may wait for more recordings")
    free_after_s: float = Field(60.0, ge=0, description="idle time after which cached memory is given back")
    queue_size: int = Field(128, gt=0, description="recordings that may wait; one more is refused at once")
    outputs: Path = Field(Path("outputs"), description="folder of the runs")
    keep_audio: bool = Field(True, description="keep the recording in the run")
    keep_days: float = Field(0.0, ge=0, allow_inf_nan=False, description="days after which a run goes; 0: never")
    keep_gb: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="size of all runs, in GB, beyond which the oldest go; 0: no bound"
    )

    # Cache of analyses
    cache: str = Field(
        "memory",
        pattern=r"^(off|memory|disk|rediss?://.+)$",
        description="where analyses are kept for the same sound: off, memory, disk, or redis://host:6379/0",
    )
    cache_mb: float = Field(256.0, gt=0, description="size of the cache in memory, in MB")
    cache_gb: float = Field(2.0, gt=0, description="size of the cache on disk, in GB")
    cache_shared: bool = Field(
        False, description="one cache for all clients, who may then learn that somebody sent the same sound before"
    )
    cache_hours: float = Field(168.0, gt=0, description="hours that disk and Redis keep an analysis")

    # Live microphone
    live_window_s: float = Field(3.0, ge=0.5, le=60, description="how much of the latest sound a live result is about")
    live_every_s: float = Field(
        0.5, ge=0.1, le=60, description="time between two live results, where the machine is quick enough"
    )

    # Page and API
    host: str = Field("127.0.0.1", description="address to listen on")
    insecure: bool = Field(False, description="allow an address that others can reach, although nothing asks for a key")
    allowed_hosts: str = Field(
        "",
        description="names, with commas, by which a proxy asks for the page; others are refused",
    )
    port: int = Field(7860, ge=0, le=65_535, description="port to listen on; 0: any free one")
    language: Literal["auto"] | Language = Field("auto", description="language of page and log; auto: by the browser")
    shutdown_s: float = Field(30.0, ge=0, description="how long accepted work may take to finish when the server ends")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error; file names are said at debug only"
    )
    log_format: Literal["text", "json"] = Field("text", description="text for people, json for log collectors")

    # Access
    api_keys: str = Field(
        "", repr=False, description="hashes of keys, with commas, as `emotion keys new NAME` prints them"
    )
    page_logins: str = Field(
        "", repr=False, description="hashes of passwords, with commas, as `emotion keys password NAME` prints them"
    )
    rate_limit: str = Field("", description="requests of one key or address, as in 600/minute; empty: no limit")
    jobs_per_client: int = Field(0, ge=0, description="recordings of one client in work at a time; 0: no limit")
    max_body_bytes: int = Field(2_000_000_000, gt=0, description="largest request, counted while it is read")
    cors_origins: str = Field("", description="web sites, with commas, whose scripts may use the API; empty: none")
    trusted_proxies: str = Field("127.0.0.1", description="proxies, with commas, that are believed who the client is")

    # API
    async_above_s: float = Field(60.0, gt=0, description="longer recordings are answered with a job at once")
    job_keep_s: float = Field(3600.0, gt=0, description="how long a finished job and its files can be fetched")

    # Cluster
    cluster_address: str = Field("", description="address of a Ray cluster; empty: one on this machine")
    cluster_min_replicas: int = Field(1, ge=1, description="replicas of the model at least")
    cluster_max_replicas: int = Field(4, ge=1, description="replicas of the model at most")
    cluster_queue_per_replica: float = Field(4.0, gt=0, description="recordings per replica before another starts")
    cluster_cpus: float = Field(1.0, ge=0, description="processors that a replica takes")
    cluster_gpus: float = Field(0.0, ge=0, description="graphics cards that a replica takes; 0.25: four share one")
    bulk_part_rows: int = Field(500, ge=1, description="recordings in a Parquet file of bulk results")
    bulk_part_s: float = Field(60.0, gt=0, description="seconds after which such a file is written all the same")
    results_url: str = Field("", description="where runs are also written, for fsspec: s3://bucket/outputs, or a path")

    @field_validator("context_s")
    @classmethod
    def _context_leaves_room(cls, context_s: float, others: ValidationInfo) -> float:
        if context_s * 2 >= others.data.get("window_s", math.inf):
            raise ValueError("context_s must be less than half of window_s")
        return context_s

    @field_validator("cluster_max_replicas")
    @classmethod
    def _most_is_not_below_least(cls, replicas: int, others: ValidationInfo) -> int:
        if replicas < others.data.get("cluster_min_replicas", 0):
            raise ValueError("cluster_max_replicas must not be less than cluster_min_replicas")
        return replicas

    @property
    def cache_dir(self) -> Path:
        """Folder of downloaded and converted models, and of analyses that are kept on disk."""
        if self.model_cache is not None:
            return self.model_cache.expanduser()
        import platformdirs  # only here: most starts name a folder or never ask

        return Path(platformdirs.user_cache_dir("emotion2vec-studio", appauthor=False))


def load_settings(config: Path | None = None, profile: str | None = None, **flags: Any) -> Settings:
    """Settings of this start: flags that are not None, then environment, then TOML, then the profile, then what
    `emotion tune` measured, then defaults.

    Raises SettingsInvalid for an unknown key or profile, a value that cannot be used or a file that is no TOML.
    """
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    chosen = {
        **_read_profile(profile or os.environ.get(PROFILE_VARIABLE)),
        **(_read_toml(named) if named else {}),
        **_read_environment(),
        **{key: value for key, value in flags.items() if value is not None},
    }
    defaults = _read_toml(_HOUSE_CONFIG) if named is None and _HOUSE_CONFIG.is_file() else {}
    values = {**defaults, **_read_local(chosen), **chosen}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        said = _CACHE_MOVED if key == "cache" else first["msg"].removeprefix("Value error, ")
        raise SettingsInvalid(f"The setting {key!r} cannot be used: {said}.", key=key) from None


def local_config_path() -> Path:
    """Where `emotion tune` writes: beside the default file of a checkout, else in the user's folder of settings."""
    if _HOUSE_CONFIG.is_file():
        return _HOUSE_CONFIG.with_name("local.toml")
    import platformdirs  # only here: a checkout has its own folder

    return Path(platformdirs.user_config_dir("emotion2vec-studio", appauthor=False)) / "local.toml"


def _read_profile(profile: str | None) -> dict[str, Any]:
    if not profile:
        return {}
    path = _HOUSE_CONFIG.with_name(f"{profile}.toml")
    if profile not in PROFILES or not path.is_file():
        raise SettingsInvalid(f"There is no profile {profile!r}. Choose {', '.join(PROFILES)}.", key="profile")
    return _read_toml(path)


def _read_local(chosen: dict[str, Any]) -> dict[str, Any]:
    """What `emotion tune` measured, which stands over the defaults only."""
    path = local_config_path()
    measured = _read_toml(path) if path.is_file() else {}
    if chosen.get("model") == "compact" or chosen.get("device", "auto") != "auto":
        # It was measured with another model, or for the device that is taken by itself.
        measured = {key: value for key, value in measured.items() if key not in ("runtime", "precision")}
    return measured


def _read_toml(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsInvalid(f"There is no settings file {config.name!r}. Check the name.", key="config") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"{config.name!r} is no TOML file: {error}.", key="config") from None


def _read_environment() -> dict[str, str]:
    """Values of `EMOTION_...`; an unknown name is kept, so that validation refuses it."""
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in (CONFIG_VARIABLE, PROFILE_VARIABLE)
    }
