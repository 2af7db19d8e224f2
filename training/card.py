"""Write MODEL_CARD.md from the measured numbers beside the weights."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from emotion.audio import SAMPLE_RATE_HZ
from emotion.model.compact import CONFIG_FILE, LABELS, WEIGHTS_FILE, load_compact, weights_sha256

TEMPLATE_FILE = Path(__file__).parent / "card_template.md"
CORPUS_NAMES = {
    "emodb": "EMO-DB (German)",
    "ravdess": "RAVDESS (English)",
    "nemo": "nEMO (Polish)",
    "crema-d": "CREMA-D part (English)",
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    stored = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    template = TEMPLATE_FILE.read_text(encoding="utf-8")
    card = template.format(**facts(stored), **tables(stored))
    WEIGHTS_FILE.with_name("MODEL_CARD.md").write_text(card, encoding="utf-8")


def tables(stored: dict[str, Any]) -> dict[str, str]:
    speakers, corpora = stored["leave_speakers_out"], stored["leave_corpora_out"]
    return {
        "accuracy_table": accuracy_table(speakers),
        "corpora_table": accuracy_table(corpora),
        "confusion_tables": "\n\n".join(confusion_table(name, measured) for name, measured in speakers.items()),
        "calibration_table": calibration_table({"speakers": speakers, "corpora": corpora}),
    }


def facts(stored: dict[str, Any]) -> dict[str, Any]:
    network = load_compact()
    return {
        "num_parameters": f"{sum(weight.numel() for weight in network.parameters()) / 1e6:.2f}",
        "size_mb": f"{WEIGHTS_FILE.stat().st_size / 1e6:.1f}",
        "sha256": weights_sha256(),
        "temperature": f"{stored['temperature']:.2f}",
        "silent": ", ".join(f"`{label}`" for label in stored["silent_labels"]),
        "picture_steps": stored["recipe"]["picture_steps"],
        "summary_steps": stored["recipe"]["summary_steps"],
        "batch_clips": stored["recipe"]["batch_clips"],
        "speed": f"{10 * (times_real_time(network) // 10):.0f}",
        "load_ms": f"{seconds_of(load_compact) * 1000:.0f}",
    }


def accuracy_table(measured: dict[str, Any]) -> str:
    lines = [
        "| corpus | clips | classes | chance | unweighted accuracy | weighted accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for corpus, numbers in measured.items():
        lines.append(
            f"| {CORPUS_NAMES[corpus]} | {numbers['clips']:,} | {numbers['classes']} | {1 / numbers['classes']:.3f} "
            f"| **{numbers['unweighted_accuracy']:.3f}** | {numbers['weighted_accuracy']:.3f} |"
        )
    return "\n".join(lines)


def calibration_table(measured: dict[str, Any]) -> str:
    lines = ["| unseen | corpus | before | after |", "|---|---|---|---|"]
    for unseen, corpora in measured.items():
        for corpus, numbers in corpora.items():
            before, after = numbers["calibration_error_before"], numbers["calibration_error"]
            lines.append(f"| {unseen} | {CORPUS_NAMES[corpus]} | {before:.3f} | {after:.3f} |")
    return "\n".join(lines)


def confusion_table(corpus: str, numbers: dict[str, Any]) -> str:
    """Rows are what was acted, columns what was recognised; columns that nobody chose are left out."""
    counts = torch.tensor(numbers["confusion"])
    heard = [place for place in range(len(LABELS)) if counts[:, place].sum() > 0]
    said = [place for place in range(len(LABELS)) if counts[place].sum() > 0]
    lines = [f"{CORPUS_NAMES[corpus]}:", "", f"| | {' | '.join(LABELS[place] for place in heard)} | recall |"]
    lines.append("|---" * (len(heard) + 2) + "|")
    for place in said:
        recall = float(counts[place, place] / counts[place].sum())
        cells = " | ".join(str(int(counts[place, column])) for column in heard)
        lines.append(f"| **{LABELS[place]}** | {cells} | {recall:.2f} |")
    return "\n".join(lines)


def times_real_time(network: torch.nn.Module, duration_s: int = 10) -> float:
    """Seconds of sound per second of one core."""
    torch.set_num_threads(1)
    waveform = torch.randn(duration_s * SAMPLE_RATE_HZ)
    return duration_s / min(repeats_s(lambda: network(waveform)))


def seconds_of(action: Callable[[], object]) -> float:
    return min(repeats_s(action))


def repeats_s(action: Callable[[], object], count: int = 7) -> Iterator[float]:
    """CPU time of each repeat, which a busy machine does not lengthen."""
    for _ in range(count):
        start_s = time.process_time()
        action()
        yield time.process_time() - start_s


if __name__ == "__main__":
    main()
