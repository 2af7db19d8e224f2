"""One training run: the rows of some clips in, a network out."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotion.compact import BAND_FLOOR, LABELS, Compact, CompactConfig, contrast
from training.augment import equalise, hide_stripes
from training.corpus import Speech
from training.store import Store

# Compiled networks want few shapes: crops are stretched to one of these lengths.
CROP_FRAMES = (80, 112, 144)
REPORT_STEPS = 100
RARE = 10


@dataclass(frozen=True)
class Recipe:
    """What a run does; the defaults are the recipe of the weights in the package."""

    num_steps: int = 900
    batch_frames: int = 3_600
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    average_decay: float = 0.997
    mixup: float = 0.3
    clean: float = 0.2
    equaliser: float = 0.4
    stretch: tuple[float, float] = (0.85, 1.18)
    shares: dict[str, float] = field(
        # CREMA-D's part is almost only happy and sad: with a large share its microphone would mean one of the two.
        default_factory=lambda: {"emodb": 0.24, "ravdess": 0.33, "nemo": 0.37, "crema-d": 0.06}
    )
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Features bands [B, 2, F, 2 T] and pitches [B, 1, P, T], and the shares of the classes, target [B, 9]."""

    bands: Tensor
    pitches: Tensor
    target: Tensor


class Sampler:
    """Batches of random crops, balanced over corpora and, within a corpus, over classes."""

    def __init__(self, speech: Speech, store: Store, rows: NDArray[np.int64], recipe: Recipe) -> None:
        self.speech, self.store, self.rows, self.recipe = speech, store, rows, recipe
        self.chances = chances(speech, rows, recipe.shares)
        self.rng = np.random.default_rng(recipe.seed)
        self.generator = torch.Generator().manual_seed(recipe.seed)

    @torch.no_grad()
    def batch(self) -> Batch:
        num_steps = int(self.rng.choice(CROP_FRAMES))
        size = int(num_steps / self.rng.uniform(*self.recipe.stretch))
        rows = self.rng.choice(self.rows, 2 * (self.recipe.batch_frames // (2 * num_steps)), p=self.chances)
        levels, pitches = self.store.cut(rows, size, self.recipe.clean, self.rng)
        target = nn.functional.one_hot(torch.from_numpy(self.speech.labels[rows]), len(LABELS)).float()
        energy, pitches, target = self.mix(levels.exp() - BAND_FLOOR, pitches, target)
        bands = contrast(equalise(energy, self.recipe.equaliser, self.generator))
        bands = stretch(bands.flatten(1, 2), 2 * num_steps).reshape(*bands.shape[:3], 2 * num_steps)
        bands, pitches = hide_stripes(bands, stretch(pitches, num_steps)[:, None], self.generator)
        return Batch(bands.contiguous(memory_format=torch.channels_last), pitches, target)

    def mix(self, energy: Tensor, pitches: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some batches hear two clips at once, and their target is shared by energy."""
        if self.rng.random() >= self.recipe.mixup:
            return energy, pitches, target
        amplitude = self.rng.beta(0.4, 0.4)
        share = amplitude**2 / (amplitude**2 + (1 - amplitude) ** 2)
        return mixed(energy, share), mixed(pitches, share), mixed(target, share)


def mixed(values: Tensor, share: float) -> Tensor:
    return share * values + (1 - share) * values.flip(0)


def stretch(values: Tensor, size: int) -> Tensor:
    """Values [B, C, n] at another tempo, [B, C, size]."""
    return nn.functional.interpolate(values, size, mode="linear")


def chances(speech: Speech, rows: NDArray[np.int64], shares: dict[str, float]) -> NDArray[np.float64]:
    """The chance of each row to be drawn: corpora by their shares, classes within a corpus almost evenly."""
    corpora, labels = speech.corpora[rows], speech.labels[rows]
    chance = np.zeros(len(rows), np.float64)
    for corpus in np.unique(corpora):
        inside = corpora == corpus
        for label in np.unique(labels[inside]):
            drawn = inside & (labels == label)
            # A handful of clips of one class would be drawn without end; they keep a place, not a share.
            chance[drawn] = drawn.sum() ** -0.8 if drawn.sum() >= RARE else 1e-2
        chance[inside] *= shares[corpus] / chance[inside].sum()
    return np.asarray(chance / chance.sum())


def fit(
    speech: Speech, store: Store, rows: NDArray[np.int64], recipe: Recipe, report: Callable[[str], None]
) -> Compact:
    """A network trained on these rows of clips: the moving average of its weights, in float32."""
    torch.manual_seed(recipe.seed)
    network = Compact(CompactConfig())
    network.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    encoder = torch.compile(network.encoder)
    optimiser = make_optimiser(network, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.peak_rate, recipe.num_steps, pct_start=0.15)
    sampler = Sampler(speech, store, rows, recipe)
    present = torch.from_numpy(np.bincount(speech.labels[rows], minlength=len(LABELS)) > 0)
    losses, start_s = [], time.monotonic()
    for step in range(1, recipe.num_steps + 1):
        batch = sampler.batch()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = encoder(batch.bands, batch.pitches)
        pooled = nn.functional.dropout(embeddings.float().mean(1), 0.2)
        loss = loss_of(network.head(pooled), batch.target, present, recipe.label_smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        follow(average, network, min(recipe.average_decay, step / (step + 9)))
        losses.append(loss.item())
        if step % REPORT_STEPS == 0:
            report(f"step {step}, loss {np.mean(losses[-REPORT_STEPS:]):.3f}, {time.monotonic() - start_s:.0f} s")
    return average


def make_optimiser(network: Compact, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.98))


def loss_of(logits: Tensor, target: Tensor, present: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of utterance logits [B, 9] over the classes that the training data have."""
    target = (target * (1 - smoothing) + smoothing / present.sum())[:, present]
    return nn.functional.cross_entropy(logits[:, present], target)


@torch.no_grad()
def follow(average: Compact, network: Compact, decay: float) -> None:
    """Move the average, with its normalisation statistics, a step towards the network."""
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
