"""Train without some speakers, or without a corpus, and predict them."""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emotion.model.compact import Compact
from training.corpus import Speech, held_out_rows, load_speech
from training.fit import Recipe, fit, present
from training.measure import NEVER, predict
from training.store import load_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, help="folder with manifest.csv")
    parser.add_argument("scheme", choices=("speakers", "corpora"))
    parser.add_argument("--parts", nargs="*", help="only these, for example fold0 or emodb")
    parser.add_argument("--cache", type=Path, default=Path("training/cache"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # Two runs of one thread each are faster than one run of two.
    speech, store = load_speech(arguments.speech, arguments.cache), load_store(arguments.cache)
    recipe = Recipe()
    for name, held_out in held_out_rows(speech, arguments.scheme):
        if arguments.parts and name not in arguments.parts:
            continue
        network = fit(speech, store, np.flatnonzero(~held_out), recipe, partial(report, name))
        save_prediction(network, speech, held_out, arguments.cache / f"held_out_{arguments.scheme}_{name}.npz")
        report(name, "predicted")


def save_prediction(network: Compact, speech: Speech, held_out: NDArray[np.bool_], file: Path) -> None:
    prediction = predict(network, speech, np.flatnonzero(held_out))
    known = present(speech, np.flatnonzero(~held_out)).numpy()
    np.savez(file, rows=prediction.rows, logits=np.where(known, prediction.logits, NEVER))


def report(name: str, line: str) -> None:
    print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
