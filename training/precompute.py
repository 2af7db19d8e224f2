"""Features of every clip, clean and distorted, kept on disk so that all runs share them."""
import sys
from pathlib import Path
import numpy as np
import torch
from emotion.compact import CompactConfig, Features
from training.augment import change_speed, distort, normalise
from training.corpus import load_speech

def write_version(speech, version, folder):
    features = Features(64, 48)
    g = torch.Generator().manual_seed(1000 + version)
    levels, means, pitches, counts = [], [], [], []
    with torch.no_grad():
        for i in range(len(speech.labels)):
            w = torch.from_numpy(speech.clip(i))
            if version == 0:
                w = normalise(w[None])
            else:
                rate = float(torch.exp(0.1 * torch.randn((), generator=g)).clamp(0.75, 1.33))
                w = distort(change_speed(w, rate)[None], g)
            b, p = features(w)
            levels.append(((b[0, 0] - 1) / 0.3).T.half().numpy())
            means.append(((b[0, 0] - 1) / 0.3 - b[0, 1] / 0.3)[:, 0].numpy())
            pitches.append(p[0, 0].T.half().numpy())
            counts.append(p.shape[3])
    np.save(folder / f"levels{version}.npy", np.concatenate(levels))
    np.save(folder / f"pitches{version}.npy", np.concatenate(pitches))
    np.savez(folder / f"index{version}.npz", means=np.stack(means), counts=np.array(counts))

if __name__ == "__main__":
    s = load_speech(Path("../shared/speech"), Path("training/cache"))
    for v in sys.argv[1:]:
        write_version(s, int(v), Path("training/cache")); print(v, flush=True)
