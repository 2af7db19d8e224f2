"""Training: the rows of some clips in, a network out. Its two views are trained apart, each with a head of its own."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotion.model.compact import BAND_FLOOR, LABELS, Compact, CompactConfig, Pictures, Summaries, contrast
from training.augment import equalise, hide_stripes
from training.corpus import Speech
from training.muon import Muon
from training.store import Store

CROP_FRAMES = (80, 112, 144)
REPORT_STEPS = 100
RARE = 10


@dataclass(frozen=True)
class Recipe:
    """What a run does; the defaults are the recipe of the weights in the package."""

    picture_steps: int = 700
    batch_frames: int = 3_600
    muon_rate: float = 0.02
    picture_rate: float = 4e-3
    weight_decay: float = 0.05
    average_decay: float = 0.995
    mixup: float = 0.1
    equaliser: float = 0.2
    stretch: tuple[float, float] = (0.85, 1.18)
    summary_steps: int = 800
    batch_clips: int = 256
    places: int = 5
    summary_rate: float = 2e-3
    summary_noise: float = 0.3
    summary_decay: float = 0.1
    clean: float = 0.3
    label_smoothing: float = 0.05
    shares: dict[str, float] = field(
        # CREMA-D's part is almost only happy and sad: with a large share its microphone would mean one of the two.
        default_factory=lambda: {"emodb": 0.24, "ravdess": 0.33, "nemo": 0.37, "crema-d": 0.06}
    )
    seed: int = 0


Report = Callable[[str], None]


class View(nn.Module):
    """One of the two views with the head that it is trained with."""

    def __init__(self, body: Pictures | Summaries, size: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(size, len(LABELS))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Utterance logits [B, 9] of embeddings [B, T, D]: the head sees their mean, as it does in use."""
        return torch.as_tensor(self.head(nn.functional.dropout(embeddings.float().mean(1), 0.2)))


class Sampler:
    """Random clips, balanced over corpora and, within a corpus, over classes."""

    def __init__(self, speech: Speech, store: Store, rows: NDArray[np.int64], recipe: Recipe) -> None:
        self.speech, self.store, self.rows, self.recipe = speech, store, rows, recipe
        self.chances = chances(speech, rows, recipe.shares)
        self.rng = np.random.default_rng(recipe.seed)
        self.generator = torch.Generator().manual_seed(recipe.seed)

    def draw(self, count: int) -> tuple[NDArray[np.int64], Tensor]:
        """Rows [B] of clips, and their classes as shares [B, 9]."""
        rows = self.rng.choice(self.rows, count, p=self.chances)
        return rows, nn.functional.one_hot(torch.from_numpy(self.speech.labels[rows]), len(LABELS)).float()

    @torch.no_grad()
    def pictures(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bands [B, 2, F, 2 T], pitches [B, 1, P, T] and the shares of the classes [B, 9] of random crops."""
        num_steps = int(self.rng.choice(CROP_FRAMES))
        size = int(num_steps / self.rng.uniform(*self.recipe.stretch))
        rows, target = self.draw(2 * (self.recipe.batch_frames // (2 * num_steps)))
        levels, pitches = self.store.cut(rows, size, self.recipe.clean, self.rng)
        energy = levels.exp() - BAND_FLOOR
        if self.rng.random() < self.recipe.mixup:
            share = mixing_share(self.rng)
            energy, pitches, target = (mixed(values, share) for values in (energy, pitches, target))
        bands = contrast(equalise(energy, self.recipe.equaliser, self.generator))
        bands = stretch(bands.flatten(1, 2), 2 * num_steps).reshape(*bands.shape[:3], 2 * num_steps)
        bands, pitches = hide_stripes(bands, stretch(pitches, num_steps)[:, None], self.generator)
        return bands.contiguous(memory_format=torch.channels_last), pitches, target

    def summaries(self) -> tuple[Tensor, Tensor]:
        """Statistics [B, places, S] at random places of random clips, and the shares of the classes [B, 9]."""
        rows, target = self.draw(self.recipe.batch_clips)
        return self.store.statistics(rows, self.recipe.places, self.recipe.clean, self.rng), target


def mixing_share(rng: np.random.Generator) -> float:
    """Two voices at random loudness: the share of energy that the first one has."""
    amplitude = rng.beta(0.4, 0.4)
    return float(amplitude**2 / (amplitude**2 + (1 - amplitude) ** 2))


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
            chance[drawn] = drawn.sum() ** -0.8 if drawn.sum() >= RARE else 1e-4
        chance[inside] *= shares[corpus] / chance[inside].sum()
    return np.asarray(chance / chance.sum())


def fit(speech: Speech, store: Store, rows: NDArray[np.int64], recipe: Recipe, report: Report) -> Compact:
    """A network trained on these rows of clips."""
    config = CompactConfig()
    pictures = fit_pictures(speech, store, rows, recipe, report)
    summaries = fit_summaries(speech, store, rows, recipe, report)
    return join(config, pictures, summaries)


@torch.no_grad()
def join(config: CompactConfig, pictures: View, summaries: View) -> Compact:
    """Both views behind one head, which gives the mean of their logits."""
    network = Compact(config)
    network.pictures.load_state_dict(pictures.body.state_dict())
    network.summaries.load_state_dict(summaries.body.state_dict())
    network.head.weight.copy_(torch.cat([pictures.head.weight, summaries.head.weight], 1) / 2)
    network.head.bias.copy_((pictures.head.bias + summaries.head.bias) / 2)
    return network.eval()


def fit_pictures(speech: Speech, store: Store, rows: NDArray[np.int64], recipe: Recipe, report: Report) -> View:
    """The convolution network, on distorted crops with hidden stripes."""
    torch.manual_seed(recipe.seed)
    config = CompactConfig()
    body = Pictures(config)
    body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    view = View(body, config.picture_size)
    optimizer = picture_optimizer(view, recipe)
    sampler = Sampler(speech, store, rows, recipe)

    def loss() -> Tensor:
        bands, pitches, target = sampler.pictures()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = body(bands, pitches)
        return loss_of(view.logits(embeddings), target, present(speech, rows), recipe.label_smoothing)

    return descend(view, loss, optimizer, recipe.picture_steps, recipe.average_decay, report)


def fit_summaries(speech: Speech, store: Store, rows: NDArray[np.int64], recipe: Recipe, report: Report) -> View:
    """The perceptron over running statistics, with noise on its inputs."""
    torch.manual_seed(recipe.seed)
    config = CompactConfig()
    body = Summaries(config)
    body.mean, body.deviation = store.moments(rows)
    view = View(body, config.summary_size)
    optimizer = torch.optim.AdamW(view.parameters(), lr=recipe.summary_rate, weight_decay=recipe.summary_decay)
    sampler = Sampler(speech, store, rows, recipe)

    def loss() -> Tensor:
        statistics, target = sampler.summaries()
        scaled = nn.functional.dropout(body.scale(statistics), 0.2)
        noisy = scaled + recipe.summary_noise * torch.randn_like(scaled)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = body.layers(noisy)
        return loss_of(view.logits(embeddings), target, present(speech, rows), recipe.label_smoothing)

    return descend(view, loss, optimizer, recipe.summary_steps, recipe.average_decay, report)


def present(speech: Speech, rows: NDArray[np.int64]) -> Tensor:
    """Which classes [9] these rows have."""
    return torch.from_numpy(np.bincount(speech.labels[rows], minlength=len(LABELS)) > 0)


def loss_of(logits: Tensor, target: Tensor, known: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of utterance logits [B, 9] over the classes that the training data have."""
    target = (target * (1 - smoothing) + smoothing / known.sum())[:, known]
    return nn.functional.cross_entropy(logits[:, known], target)


def picture_optimizer(view: View, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [weight for weight in view.body.parameters() if weight.ndim > 1]
    vectors = [weight for weight in view.body.parameters() if weight.ndim <= 1]
    return Muon(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay, "lr": recipe.muon_rate, "orthogonal": True},
            {"params": [*vectors, *view.head.parameters()], "weight_decay": 0.0, "lr": recipe.picture_rate},
        ],
        betas=(0.9, 0.98),
    )


def descend(
    view: View,
    loss: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    num_steps: int,
    average_decay: float,
    report: Report,
) -> View:
    """One learning-rate cycle; the moving average of the weights comes back."""
    average = copy.deepcopy(view).eval()
    peak_rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rates, num_steps, pct_start=0.15)
    losses, start_s = [], time.monotonic()
    for step in range(1, num_steps + 1):
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(view.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        follow(average, view, min(average_decay, step / (step + 9)))
        losses.append(value.item())
        if step % REPORT_STEPS == 0:
            report(f"step {step}, loss {np.mean(losses[-REPORT_STEPS:]):.3f}, {time.monotonic() - start_s:.0f} s")
    return average


@torch.no_grad()
def follow(average: View, view: View, decay: float) -> None:
    """Move the average, with its normalisation statistics, a step towards the network."""
    for slow, fast in zip(average.state_dict().values(), view.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
