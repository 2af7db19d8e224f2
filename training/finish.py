"""Train on all clips and write the weights, with the temperature and the numbers of the held-out predictions."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from emotion.model.compact import CONFIG_FILE, LABELS, WEIGHTS_FILE
from training.corpus import CORPORA, Speech, held_out_rows, load_speech
from training.fit import RARE, Recipe, fit
from training.measure import (
    NEVER,
    Prediction,
    best_temperature,
    calibration_error,
    confusion,
    negative_log_likelihood,
    unweighted_accuracy,
)
from training.store import load_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, help="folder with manifest.csv")
    parser.add_argument("--cache", type=Path, default=Path("training/cache"))
    parser.add_argument("--only-measure", action="store_true", help="keep the trained network, write the rest anew")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speech = load_speech(arguments.speech, arguments.cache)
    recipe = Recipe()
    trained_file = arguments.cache / "trained.pt"
    if not arguments.only_measure:
        rows = np.arange(len(speech))
        network = fit(speech, load_store(arguments.cache), rows, recipe, lambda line: print(line, flush=True))
        torch.save({"state": network.state_dict(), "config": asdict(network.config)}, trained_file)
    trained = torch.load(trained_file, weights_only=True)
    measures = measure(speech, arguments.cache)
    write_weights(trained["state"], silent_labels(speech), measures["temperature"])
    write_config(trained["config"], recipe, silent_labels(speech), measures)


def silent_labels(speech: Speech) -> list[str]:
    """The classes that no clip has, which the network therefore never names."""
    counts = np.bincount(speech.labels, minlength=len(LABELS))
    return [label for label, count in zip(LABELS, counts, strict=True) if count == 0]


def write_weights(state: dict[str, torch.Tensor], silent: list[str], temperature: float) -> None:
    """The head takes the temperature in and gives silent classes -inf; all else is as trained."""
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    rows = [LABELS.index(label) for label in silent]
    tensors["head.weight"], tensors["head.bias"] = state["head.weight"] / temperature, state["head.bias"] / temperature
    tensors["head.weight"][rows], tensors["head.bias"][rows] = 0.0, -torch.inf
    WEIGHTS_FILE.parent.mkdir(exist_ok=True)
    save_file(tensors, WEIGHTS_FILE)
    WEIGHTS_FILE.chmod(0o644)  # safetensors keeps it to its owner; an installed package is read by others.


def write_config(config: dict[str, Any], recipe: Recipe, silent: list[str], measures: dict[str, Any]) -> None:
    stored = {
        "name": "compact",
        "licence": "CC-BY-NC-SA-4.0",
        "labels": LABELS,
        "silent_labels": silent,
        "config": config,
        "recipe": asdict(recipe),
        **measures,
    }
    CONFIG_FILE.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(speech: Speech, cache_folder: Path) -> dict[str, Any]:
    """Temperature, and for both schemes the numbers of each corpus on what was held out."""
    predictions = {scheme: collect(speech, scheme, cache_folder) for scheme in ("speakers", "corpora")}
    temperature = fit_temperature(speech, predictions)
    return {
        "temperature": temperature,
        **{
            f"leave_{scheme}_out": describe(speech, prediction, temperature)
            for scheme, prediction in predictions.items()
        },
    }


def collect(speech: Speech, scheme: str, cache_folder: Path) -> Prediction:
    """All held-out predictions of one scheme that `python -m training.hold_out` wrote."""
    names = [name for name, _ in held_out_rows(speech, scheme)]
    parts = [np.load(cache_folder / f"held_out_{scheme}_{name}.npz") for name in names]
    return Prediction(*(np.concatenate([part[name] for part in parts]) for name in ("rows", "logits")))


def fit_temperature(speech: Speech, predictions: dict[str, Prediction]) -> float:
    """One temperature for unseen speakers and unseen corpora; each corpus weighs the same in each scheme."""
    rows = np.concatenate([prediction.rows for prediction in predictions.values()])
    logits = np.concatenate([prediction.logits for prediction in predictions.values()])
    labels, corpora = speech.labels[rows], speech.corpora[rows]
    schemes = np.repeat(np.arange(len(predictions)), [len(prediction.rows) for prediction in predictions.values()])
    weights = np.zeros(len(rows))
    for scheme in range(len(predictions)):
        for corpus in CORPORA[:3]:  # CREMA-D's two classes say little of confidence.
            # A class that a network never met has no likelihood to improve.
            counted = (schemes == scheme) & (corpora == corpus) & (logits[np.arange(len(rows)), labels] > NEVER)
            weights[counted] = 1 / max(counted.sum(), 1)
    return best_temperature(labels[weights > 0], logits[weights > 0], weights[weights > 0])


def describe(speech: Speech, prediction: Prediction, temperature: float) -> dict[str, Any]:
    corpora, labels = speech.corpora[prediction.rows], speech.labels[prediction.rows]
    described = {}
    for corpus in CORPORA:
        counted = (corpora == corpus) & frequent(labels, corpora == corpus)
        if counted.any():
            described[corpus] = describe_corpus(labels[counted], prediction.logits[counted], temperature)
    return described


def frequent(labels: NDArray[np.int64], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The clips [n] whose class has enough clips in the corpus: the share of two clips recognised says nothing."""
    return np.bincount(labels[inside], minlength=len(LABELS))[labels] >= RARE


def describe_corpus(labels: NDArray[np.int64], logits: NDArray[np.float32], temperature: float) -> dict[str, Any]:
    counts = confusion(labels, logits)
    met = logits[np.arange(len(labels)), labels] > NEVER
    return {
        "clips": len(labels),
        "classes": int((counts.sum(1) > 0).sum()),
        "unweighted_accuracy": round(unweighted_accuracy(counts), 4),
        "weighted_accuracy": round(float(counts.diagonal().sum() / counts.sum()), 4),
        "negative_log_likelihood": round(
            negative_log_likelihood(labels[met], logits[met] / temperature, np.ones(met.sum())), 4
        ),
        "calibration_error": round(calibration_error(labels, logits / temperature), 4),
        "calibration_error_before": round(calibration_error(labels, logits), 4),
        "confusion": counts.tolist(),
    }


if __name__ == "__main__":
    main()
