"""The one family of errors: each message says what happened and what to do, and names no path of the machine."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, dataclass_transform

from emotion.formatting import with_units


@dataclass_transform(eq_default=False)
class EmotionError(Exception):
    """Anything that Emotion2Vec+ Studio refuses; the message is fit to be shown to a person.

    `code` is a stable word for programs and translations; `details` holds the names and numbers of the message. A kind
    with fields is a dataclass: they are its details, and fill its `template`.
    """

    code = "error"
    template: ClassVar[str] = ""

    def __init__(self, message: str = "", **details: object) -> None:
        self.message = message or self.template
        super().__init__(self.message)
        self.details = details

    def __init_subclass__(cls) -> None:
        if "__annotations__" in vars(cls):
            dataclass(eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        details = dict(vars(self))
        EmotionError.__init__(self, self.template.format(**with_units(details)), **details)

    def __reduce__(self) -> tuple[object, ...]:
        # Most of the family are made of numbers and names, and pickle would hand them the message instead.
        return _again, (type(self), self.message, self.details)


class SettingsInvalid(EmotionError):
    """A setting is unknown or has a value that cannot be used."""

    code = "settings_invalid"


class ClipError(EmotionError):
    """The recording itself cannot be analysed."""

    code = "clip_error"


class ClipNotFound(ClipError):
    code = "clip_not_found"
    template = "There is no file called {name!r}. Check the name."
    name: str


class ClipUnreadable(ClipError):
    code = "clip_unreadable"
    template = "{name!r} cannot be opened. Check its permissions and its disk."
    name: str


class ClipEmpty(ClipError):
    code = "clip_empty"
    template = "{name!r} is empty. Record or export it again."
    name: str


class ClipCutOff(ClipError):
    code = "clip_cut_off"
    template = "{name!r} breaks off before its first sound. Copy or download it again."
    name: str


class NotSound(ClipError):
    code = "not_sound"
    template = "{name!r} holds no sound that can be read. Use WAV, MP3, M4A, FLAC, OGG, WEBM, AMR, AIFF, CAF or WMA."
    name: str


class ClipTooLarge(ClipError):
    code = "clip_too_large"
    template = "This file is larger than {limit}. Cut or compress it, or raise max_file_bytes."
    limit_bytes: int


class ClipTooLong(ClipError):
    code = "clip_too_long"
    template = "This recording lasts longer than {limit_s:.0f} s. Cut it, or raise max_clip_s."
    limit_s: float


class ClipTooShort(ClipError):
    code = "clip_too_short"
    template = "This recording lasts {duration_ms} ms; at least {limit_ms} ms are needed."
    duration_s: float
    limit_s: float


class RateOutOfRange(ClipError):
    code = "rate_out_of_range"
    template = "This recording claims {rate_hz} samples per second; {low_hz} to {high_hz} can be read. Export it again."
    rate_hz: int
    low_hz: int
    high_hz: int


class TooManyChannels(ClipError):
    code = "too_many_channels"
    template = "This recording has {channels} channels; at most {limit} can be read. Mix it down."
    channels: int
    limit: int


class ClipLocked(ClipError):
    code = "clip_locked"
    template = "{name!r} is locked with a password. Unpack the archive and give the recordings themselves."
    name: str


class ArchiveBroken(ClipError):
    """An archive, or a recording in it, that cannot be unpacked."""

    code = "archive_broken"
    template = "{name!r} cannot be unpacked: it is damaged, or packed in an unusual way. Make the zip again."
    name: str


class ArchiveTooLarge(ClipError):
    code = "archive_too_large"
    template = "{name!r} holds more than {max_files} files, or more than {limit} once unpacked. Split it into several."
    name: str
    max_files: int
    limit_bytes: int


class NothingInside(ClipError):
    """A folder or an archive without recordings."""

    code = "nothing_inside"
    template = "{name!r} holds no sound file. Choose one with recordings in it."
    name: str


class GivenUp(ClipError):
    """A recording that was in work each time when the server broke down."""

    code = "given_up"
    template = (
        "The server broke down twice while it worked on {name!r}, so it is not tried again. Export the recording as "
        "WAV, or cut it into shorter ones."
    )
    name: str


class ModelError(EmotionError):
    """The model cannot be found, fetched, read or run."""

    code = "model_error"


class ModelNotFound(ModelError):
    code = "model_not_found"


class HubUnreachable(ModelError):
    code = "hub_unreachable"


class CheckpointBroken(ModelError):
    code = "checkpoint_broken"


class AnswerNotFinite(ModelError):
    """What the model computed is no number."""

    code = "answer_not_finite"
    template = "{model} gives no numbers for this recording. Its weights are damaged: download the model again."
    model: str


class OutOfMemory(ModelError):
    """The memory of the device does not hold this work."""

    code = "out_of_memory"
    template = (
        "The memory of {device} does not hold this recording. Lower exact_limit_s and window_s, choose --precision "
        "fp16, or keep blocks on the CPU: offload_blocks = 6."
    )
    device: str


class DiskFull(EmotionError):
    code = "disk_full"
    template = (
        "The disk is full: {needed} are needed. Free some space, or point EMOTION_MODEL_CACHE or --output at another "
        "disk."
    )
    needed_bytes: int


class FolderNotWritable(EmotionError):
    code = "folder_not_writable"
    template = "The folder {name!r} cannot be written: {reason}. Choose another with --output."
    name: str
    reason: str


class RunNotFound(EmotionError):
    """There is no such run or clip, or what is left of it cannot be read."""

    code = "run_not_found"
    # Without the name that was asked for: it may come from a stranger, and says nothing to a person.
    template = "This result is not there. It was deleted or moved, or its files are damaged."


class RunIsOpen(EmotionError):
    code = "run_is_open"
    template = "The run {name!r} is still being written. Wait until it is done, or cancel it."
    name: str


class EngineBusy(EmotionError):
    """The queue is full; `retry_s` is about when a quarter of it will have passed, a minute at most."""

    code = "engine_busy"

    def __init__(self, queue_length: int, retry_s: float | None = None) -> None:
        seconds = 3 if retry_s is None else min(max(math.ceil(retry_s), 1), 60)
        super().__init__(
            f"{queue_length} recordings are waiting already, which is the limit. Try again in {seconds} s.",
            queue_length=queue_length,
            retry_s=seconds,
        )


class LiveFull(EmotionError):
    """As many microphones are listened to as may be."""

    code = "live_full"
    template = "{limit} microphones are being listened to already, which is the limit. Try again in a minute."
    limit: int


@dataclass(eq=False, repr=False)
class LiveSilent(EmotionError):
    """Less sound came than any microphone sends."""

    code = "live_silent"
    template = "Next to no sound came for {limit_s:.0f} s, so listening ended. Check the microphone and start again."
    limit_s: float


class LiveRefused(EmotionError):
    """What came over the web socket of a live session is not what it takes."""

    code = "live_refused"
    template = "The sound did not come as this program takes it. Load the page again."


class EngineClosed(EmotionError):
    code = "engine_closed"
    template = "The recogniser is shutting down and takes no new work. Start it again."


class ReplicasLost(EmotionError):
    """The processes of a cluster that worked on a recording ended again and again."""

    code = "replicas_lost"
    template = "The computers that recognise were lost while they worked on this recording. Try again in a minute."


class NotAllowed(EmotionError):
    """No key, or one that is not known."""

    code = "not_allowed"
    template = "A key is needed. Send it as 'Authorization: Bearer KEY', or sign in on the page."


class TooManyRequests(EmotionError):
    """More requests, or more recordings in work, than one client may have; `retry_s` is when to try again."""

    code = "too_many_requests"

    def __init__(self, retry_s: float) -> None:
        super().__init__(
            f"That is more than one client may ask for at a time. Try again in {max(round(retry_s), 1)} s.",
            retry_s=retry_s,
        )


class BodyTooLarge(EmotionError):
    code = "body_too_large"
    template = "This request is larger than {limit}. Send fewer recordings at once, or raise max_body_bytes."
    limit_bytes: int


class RequestInvalid(EmotionError):
    """A request that cannot be understood: a parameter, a header or a body is not what it should be."""

    code = "request_invalid"


class JobNotFound(EmotionError):
    """There is no such job of this client, or its time is over."""

    code = "job_not_found"
    template = "There is no such analysis. It was deleted, or the time that it is kept for is over."


class Unexpected(EmotionError):
    """What should not happen; the log of the program has it in full."""

    code = "unexpected"
    template = "Something went wrong that should not. It was written to the log of the program."


def error_of(code: str, message: str) -> EmotionError:
    """The error with this code, as it was told before; Unexpected for a code that nobody has."""
    kinds: list[type[EmotionError]] = [EmotionError]
    for kind in kinds:  # which grows meanwhile
        kinds += kind.__subclasses__()
    return _again(next((kind for kind in kinds if kind.code == code), Unexpected), message, {})


def _again(kind: type[EmotionError], message: str, details: dict[str, object]) -> EmotionError:
    """The error of another process."""
    error = kind.__new__(kind)
    EmotionError.__init__(error, message, **details)
    return error


def command_line(words: str) -> str:
    """What a person types for these words of the command line: with `./run.sh` in a checkout, else with `emotion`."""
    start = "./run.sh" if (Path(__file__).parent.parent / "run.sh").is_file() else "emotion"
    return f"{start} {words}"
