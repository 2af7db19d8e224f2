"""One training run."""
import copy, math, time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from emotion.compact import FLOOR, LABELS, Compact, CompactConfig, contrast
from training.augment import hide_stripes, normalise
from training.corpus import Speech


@dataclass(frozen=True)
class Recipe:
    num_steps: int = 1200
    batch_frames: int = 7200
    min_frames: int = 70
    max_frames: int = 160
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.998
    mixup: float = 0.3
    clean: float = 0.2
    crema_share: float = 0.06
    emodb_share: float = 0.24
    ravdess_share: float = 0.33
    masked: float = 0.0
    eq: float = 0.4
    seed: int = 0


def chances(speech: Speech, rows: np.ndarray, recipe: Recipe) -> np.ndarray:
    share = {"crema-d": recipe.crema_share, "emodb": recipe.emodb_share, "ravdess": recipe.ravdess_share}
    share["nemo"] = 1 - sum(share.values())
    p = np.zeros(len(rows))
    for c in np.unique(speech.corpora[rows]):
        of = speech.corpora[rows] == c
        for l in np.unique(speech.labels[rows][of]):
            m = of & (speech.labels[rows] == l)
            # sqrt: balanced by class, without repeating a handful of clips for ever
            p[m] = m.sum() ** 0.2 / m.sum()
        if c == "crema-d":
            p[of & ~np.isin(speech.labels[rows], [3, 6])] = 1e-3
        p[of] *= share[c] / p[of].sum()
    return p / p.sum()


class Store:
    """Features of all clips in all versions."""
    def __init__(self, folder, versions):
        self.levels = [np.load(folder / f"levels{v}.npy", mmap_mode="r") for v in versions]
        self.pitches = [np.load(folder / f"pitches{v}.npy", mmap_mode="r") for v in versions]
        self.counts = [np.load(folder / f"index{v}.npz")["counts"] for v in versions]
        self.starts = [np.concatenate([[0], np.cumsum(c)[:-1]]) for c in self.counts]

    def cut(self, rows, size, clean, rng):
        """Random crops: levels [B, bands, 2 size] and pitches [B, 1, pitches, size]."""
        levels = np.empty((len(rows), 2 * size, 64), np.float32); pitches = np.empty((len(rows), size, 48), np.float32)
        for i, row in enumerate(rows):
            v = 0 if rng.random() < clean else int(rng.integers(1, len(self.levels)))
            n = int(self.counts[v][row]); st = int(self.starts[v][row])
            if n >= size:
                st += int(rng.integers(n - size + 1)); idx = None
                levels[i] = self.levels[v][2 * st : 2 * (st + size)]; pitches[i] = self.pitches[v][st : st + size]
            else:
                idx = (np.arange(size) + int(rng.integers(n))) % n
                pitches[i] = self.pitches[v][st : st + n][idx]
                levels[i] = self.levels[v][2 * st : 2 * (st + n)].reshape(n, 2, 64)[idx].reshape(2 * size, 64)
        return torch.from_numpy(levels).transpose(1, 2), torch.from_numpy(pitches).transpose(1, 2)


def fit(speech: Speech, store, rows: np.ndarray, recipe: Recipe, config: CompactConfig, log=print) -> Compact:
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    gen = torch.Generator().manual_seed(recipe.seed)
    net = Compact(config)
    net.encoder = net.encoder.to(memory_format=torch.channels_last)
    ema = copy.deepcopy(net).eval()
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}], lr=recipe.peak_rate, betas=(0.9, 0.98))
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, recipe.peak_rate, recipe.num_steps, pct_start=0.15)
    p = chances(speech, rows, recipe)
    present = torch.zeros(len(rows), len(LABELS), dtype=torch.bool)
    for c in np.unique(speech.corpora[rows]):
        of = speech.corpora[rows] == c
        have = np.unique(speech.labels[rows][of & (p > 1e-5)])
        present[np.ix_(of, have)] = True
    never = ~present.any(0)
    t0 = time.time(); tot = n = 0; spent = np.zeros(3)
    for step in range(recipe.num_steps):
        a = time.time()
        size = int(rng.integers(recipe.min_frames, recipe.max_frames))
        count = 2 * (recipe.batch_frames // (2 * size))
        pick = rng.choice(len(rows), count, p=p)
        levels, pitches = store.cut(rows[pick], size, recipe.clean, rng)
        b = time.time()
        target = nn.functional.one_hot(torch.from_numpy(speech.labels[rows[pick]]), len(LABELS)).float()
        with torch.no_grad():
            energy = levels.exp() - FLOOR
            if rng.random() < recipe.mixup:
                share = float(rng.beta(0.4, 0.4)); share = max(share, 1 - share)
                w = share**2 / (share**2 + (1 - share) ** 2)
                energy = w * energy + (1 - w) * energy.flip(0)
                pitches = w * pitches + (1 - w) * pitches.flip(0)
                target = w * target + (1 - w) * target.flip(0)
            knots = torch.randn(count, 6, generator=gen) * recipe.eq + torch.randn(count, 1, generator=gen) * 0.5
            gain = nn.functional.interpolate(knots[:, None], 64, mode="linear", align_corners=True)[:, 0].exp()
            bands = contrast((energy.clamp(min=0) * gain[:, :, None] + FLOOR).log())
            longer = int(size * rng.uniform(0.85, 1.18))
            bands = nn.functional.interpolate(bands.flatten(1, 2), 2 * longer, mode="linear").unflatten(1, bands.shape[1:3])
            pitches = nn.functional.interpolate(pitches, longer, mode="linear")[:, None]
            bands, pitches = hide_stripes(bands, pitches, gen)
            bands = bands.contiguous(memory_format=torch.channels_last)
        c = time.time()
        with torch.autocast("cpu", torch.bfloat16):
            emb = net.encoder(bands, pitches)
        pooled = nn.functional.dropout(emb.float().mean(1), 0.2)
        logits = net.head(pooled)
        logits = logits.masked_fill(never, -1e4)
        smooth = recipe.label_smoothing
        target = target * (1 - smooth) + smooth * (~never) / (~never).sum()
        logp = logits.log_softmax(1)
        loss = -(target * logp.clamp(min=-50)).sum(1).mean()
        opt.zero_grad(set_to_none=True); loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        opt.step(); sched.step()
        d = time.time()
        spent += [b - a, c - b, d - c]
        with torch.no_grad():
            m = min(recipe.ema, (step + 1) / (step + 10))
            for x, y in zip(ema.state_dict().values(), net.state_dict().values()):
                if x.dtype.is_floating_point: x.lerp_(y, 1 - m)
                else: x.copy_(y)
        tot += loss.item(); n += 1
        if (step + 1) % 50 == 0:
            log(f"{step+1} loss {tot/n:.3f} {time.time()-t0:.0f}s cut/feat/net {spent.round(0)}"); tot = n = 0
    return ema


@torch.no_grad()
def logits_of(net: Compact, speech: Speech, rows: np.ndarray) -> np.ndarray:
    out = []
    for r in rows:
        w = normalise(torch.from_numpy(speech.clip(r))[None])[0]
        out.append(net(w)[0].mean(0).numpy())
    return np.array(out)


def ua(labels, logits):
    pred = logits.argmax(1)
    return float(np.mean([(pred[labels == l] == l).mean() for l in np.unique(labels)]))
