"""Blocks of any rate and number of channels in, one clip out, in bounded memory and within the limits."""

import errno
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soxr
from numpy.typing import NDArray

from emotion.audio.clip import SAMPLE_RATE_HZ, Clip, DecodeLimits
from emotion.errors import ClipTooLong, DiskFull, NotSound, RateOutOfRange, TooManyChannels

Samples = NDArray[np.float32]

# 38 MB of samples. Longer clips go to a file, whose pages the system can drop: three hours would be 690 MB of heap.
HELD_SAMPLES = 10 * 60 * SAMPLE_RATE_HZ
# Float files may hold any number. The square of 1e12 summed over hours still fits float32, where the model normalises.
LOUDEST = np.float32(1e12)
# A real recording changes its rate once, when a decoder learns of its high band; every change builds a new filter.
MAX_RATE_CHANGES = 32
# Two voices on two channels lose 6 dB at most when they are mixed; channels in antiphase lose nearly everything.
CANCELLED_DB = 12.0
# The mean of equal channels loses nothing of their power, that of two different voices about half.
DIFFERENT = 0.1


@dataclass(frozen=True)
class Block:
    """Some decoded sound: float32 [n, channels] at `rate_hz`."""

    samples: Samples
    rate_hz: int


class ClipWriter:
    """Takes blocks in their order and makes the clip; use it as a context, so that a failure leaves no open file.

    Of several channels the mean is taken, or one `channel`, counted from 0.
    """

    def __init__(self, name: str, limits: DecodeLimits, channel: int | None = None) -> None:
        self._name = name
        self._limits = limits
        self._mix = ChannelMix(channel)
        self._tape = _Tape(needed_bytes=int(limits.max_clip_s * SAMPLE_RATE_HZ * 4))
        self._resampler: Resampler | None = None
        self._rate_changes = 0
        self._spent = 0.0  # share of the longest clip that was decoded so far
        self._heard = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._tape.close()

    def write(self, block: Block) -> None:
        if block.samples.size == 0:
            return
        frames, channels = block.samples.shape
        self._hold_limits(frames, channels, block.rate_hz)
        resampler = self._resampler_for(block.rate_hz)
        self._tape.append(resampler.push(self._mono(block.samples)))

    def clip(self) -> Clip:
        """The clip of all blocks so far; it has no samples where no block had any. Ends the writing."""
        if self._resampler is not None:
            self._tape.append(self._resampler.finish())
            if not self._heard:
                raise NotSound(self._name)
        mix = self._mix
        return Clip(self._name, self._tape.samples(), 0, mix.channels, mix.mixed_from, mix.channels_differ)

    @property
    def channel_instead(self) -> int | None:
        """The channel to take instead of a mix that cancels itself out; None where the mix is good."""
        return self._mix.channel_instead

    def _hold_limits(self, frames: int, channels: int, rate_hz: int) -> None:
        limits = self._limits
        if channels > limits.max_channels:
            raise TooManyChannels(channels, limits.max_channels)
        if not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
            raise RateOutOfRange(rate_hz, limits.min_rate_hz, limits.max_rate_hz)
        longest_s = limits.longest_s(rate_hz, channels)
        self._spent += frames / rate_hz / longest_s
        if self._spent > 1 + 1e-9:  # the sum of thousands of fractions is not exact
            raise ClipTooLong(longest_s)

    def _resampler_for(self, rate_hz: int) -> "Resampler":
        current = self._resampler
        if current is not None and current.rate_hz == rate_hz:
            return current
        if current is not None:
            self._tape.append(current.finish())
            self._rate_changes += 1
            if self._rate_changes > MAX_RATE_CHANGES:
                raise NotSound(self._name)
        self._resampler = Resampler(rate_hz)
        return self._resampler

    def _mono(self, samples: Samples) -> Samples:
        """Mean over channels; a sample that is no number, infinite or absurdly loud counts as silence."""
        with np.errstate(over="ignore", invalid="ignore"):
            mono = self._mix.mono(samples)
        if mono.min() >= -LOUDEST and mono.max() <= LOUDEST:  # false for NaN
            self._heard = True
        else:
            sound = np.abs(samples) <= LOUDEST
            self._heard = self._heard or bool(sound.any())
            samples = np.where(sound, samples, np.float32(0))
            mono = self._mix.mono(samples)
        self._mix.measure(samples, mono)
        return mono


class ChannelMix:
    """Makes one channel of several, and learns whether that loses something."""

    def __init__(self, channel: int | None) -> None:
        self._channel = channel
        self.channels = 1
        self._powers = np.zeros(1)
        self._mix_power = 0.0

    def mono(self, samples: Samples) -> Samples:
        """The mean of the channels [n, channels], or the one that was chosen, [n]."""
        if self._channel is None:
            return mean_over_channels(samples)
        return np.ascontiguousarray(samples[:, min(self._channel, samples.shape[1] - 1)])

    def measure(self, samples: Samples, mono: Samples) -> None:
        """Add a block to what is known of the channels."""
        channels = samples.shape[1]
        if channels == 1 and self.channels == 1:
            return
        if channels > len(self._powers):  # a decoder may learn of more channels on the way
            self._powers = np.concatenate([self._powers, np.zeros(channels - len(self._powers))])
        self.channels = max(self.channels, channels)
        self._powers[:channels] += np.einsum("ij,ij->j", samples, samples, dtype=np.float64)
        self._mix_power += float(np.einsum("i,i->", mono, mono, dtype=np.float64))

    @property
    def mixed_from(self) -> tuple[int, ...]:
        """The channels in the clip, counted from 1; none of a file that has only one."""
        if self.channels == 1:
            return ()
        return tuple(range(1, self.channels + 1)) if self._channel is None else (self._channel + 1,)

    @property
    def channels_differ(self) -> bool:
        """Whether the channels hold different sound: what the mean loses of them is more than DIFFERENT of it."""
        if self._channel is not None:
            return True
        mean_power = float(self._powers.sum()) / self.channels
        return self.channels > 1 and mean_power - self._mix_power > DIFFERENT * mean_power

    @property
    def channel_instead(self) -> int | None:
        """The loudest channel, counted from 0, where the mean is more than CANCELLED_DB below it."""
        loudest = int(self._powers.argmax())
        is_cancelled = self._mix_power < self._powers[loudest] * 10 ** (-CANCELLED_DB / 10)
        return loudest if self._channel is None and self.channels > 1 and is_cancelled else None


def mean_over_channels(samples: Samples) -> Samples:
    """[n, channels] to [n], the same bits as torch's `mean(-1)` in float32 for 1 to 32 channels.

    Sums of floats depend on their order, and FunASR mixes with torch. Its order (aten/native/cpu/SumKernel.cpp): up to
    7 channels four running sums side by side, of which the first takes the remainder; from 8 on eight running sums,
    the remainder before them.
    """
    channels, lane_count = samples.shape[1], 8
    if channels == 1:
        return np.ascontiguousarray(samples[:, 0])
    if channels < lane_count:
        sums = [samples[:, c] for c in range(min(channels, 4))]
        for c in range(4, channels):
            sums[0] = sums[0] + samples[:, c]
    else:
        whole = channels // lane_count * lane_count
        lanes = samples[:, :lane_count].copy()
        for c in range(lane_count, whole, lane_count):
            lanes += samples[:, c : c + lane_count]
        sums = [samples[:, c] for c in range(whole, channels)] + [lanes[:, c] for c in range(lane_count)]
    total = sums[0].copy()
    for part in sums[1:]:
        total += part
    total /= np.float32(channels)
    return total


class Resampler:
    """Mono of one rate to 16 kHz in pieces, the same bits as `librosa.resample` (soxr HQ) of the whole."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        same = rate_hz == SAMPLE_RATE_HZ
        self._stream = None if same else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        self._taken = 0
        self._given = 0

    def push(self, mono: Samples) -> Samples:
        self._taken += len(mono)
        ready: Samples = mono if self._stream is None else self._stream.resample_chunk(mono)
        self._given += len(ready)
        return ready

    def finish(self) -> Samples:
        """What is still inside, cut or filled with zeros to the length that librosa gives: rounded up."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        wanted = math.ceil(self._taken * (float(SAMPLE_RATE_HZ) / self.rate_hz)) - self._given
        exact = np.zeros(max(wanted, 0), np.float32)
        exact[: len(rest)] = rest[: len(exact)]
        return exact


class _Tape:
    """Samples in their order: in memory while they are few, then in a temporary file that has no name."""

    def __init__(self, needed_bytes: int) -> None:
        self._needed_bytes = needed_bytes
        self._parts: list[Samples] = []
        self._file: BinaryIO | None = None
        self._length = 0

    def append(self, part: Samples) -> None:
        self._parts.append(part)
        self._length += len(part)
        if self._length > HELD_SAMPLES:
            self._spill()

    def samples(self) -> Samples:
        if self._file is not None:
            # The mapping keeps the file alive after it is closed here, and ends it when the array goes.
            return np.memmap(self._file, np.float32, mode="r", shape=(self._length,))
        samples = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        samples.setflags(write=False)
        return samples

    def close(self) -> None:
        self._parts.clear()
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        with disk_full_as_error(self._needed_bytes):
            if self._file is None:
                # Without a buffer a failed write cannot fail again when the file is closed.
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            for part in self._parts:
                write_all(self._file, part.data)
        self._parts.clear()


@contextmanager
def disk_full_as_error(needed_bytes: int) -> Iterator[None]:
    """Raise DiskFull where there is no room for what is written in the context."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(needed_bytes) from error
        raise


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write into a file without a buffer, which may take a part only."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[file.write(rest) :]
