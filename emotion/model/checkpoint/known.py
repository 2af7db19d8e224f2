"""The published models: names on both hubs, licence, size, and the facts that are pinned."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

LICENSE = "FunASR Model License"
LICENSE_URL = "https://github.com/modelscope/FunASR/blob/main/MODEL_LICENSE"
EXAMPLE_CLIP = "example/test.wav"


@dataclass(frozen=True)
class KnownModel:
    """A published emotion2vec+ checkpoint.

    `weights_bytes` and `weights_sha256` are of `model.pt`, None where they are not known.
    """

    name: str
    modelscope_id: str
    hf_id: str
    hf_revision: str
    parameters: str
    weights_bytes: int | None = None
    weights_sha256: str | None = None

    @property
    def ids(self) -> tuple[str, str]:
        return self.modelscope_id, self.hf_id


# ModelScope's models have one moving branch: there, the hash of the content is the pin.
MODELSCOPE_REVISION = "master"
# Revision, size and hash: https://huggingface.co/emotion2vec/emotion2vec_plus_large at that revision.
KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        name="emotion2vec_plus_large",
        modelscope_id="iic/emotion2vec_plus_large",
        hf_id="emotion2vec/emotion2vec_plus_large",
        hf_revision="6c303ba987b86b93193de93e34bb2b077a6bedc4",
        parameters="162 M",
        weights_bytes=1_945_790_254,
        weights_sha256="be501a01f26fcdc7663a062dff86af839afbaef7c4de32f5e42d7e1ad2784da4",
    ),
    KnownModel(
        name="emotion2vec_plus_base",
        modelscope_id="iic/emotion2vec_plus_base",
        hf_id="emotion2vec/emotion2vec_plus_base",
        hf_revision="main",
        parameters="90 M",
    ),
    KnownModel(
        name="emotion2vec_plus_seed",
        modelscope_id="iic/emotion2vec_plus_seed",
        hf_id="emotion2vec/emotion2vec_plus_seed",
        hf_revision="main",
        parameters="90 M",
    ),
)


def known_model(name: str) -> KnownModel | None:
    """The published model of a short name or of its id on either hub."""
    for model in KNOWN_MODELS:
        if name in (model.name, *model.ids):
            return model
    return None


@dataclass(frozen=True)
class GoldenClip:
    """What the official weights say of the official example clip, as its publishers printed it twice.

    `published_scores` are by label; log-scores within `log_tolerance` count as equal.
    """

    model: str
    clip: str
    clip_sha256: str
    labels: tuple[str, ...]
    published_scores: tuple[tuple[float, ...], ...]
    log_tolerance: float

    def worst_log_difference(self, scores: Mapping[str, float]) -> float:
        """The largest distance of the log-scores from what was published, infinite where a label is missing or 0."""
        return max(
            min(self._log_distance(label, published, scores) for published in columns)
            for label, *columns in zip(self.labels, *self.published_scores, strict=True)
        )

    @staticmethod
    def _log_distance(label: str, published: float, scores: Mapping[str, float]) -> float:
        score = scores.get(label, 0.0)
        return abs(math.log(score) - math.log(published)) if score > 0 else math.inf


# Source: the model page of iic/emotion2vec_plus_large, utterance granularity.
GOLDEN = GoldenClip(
    model="emotion2vec_plus_large",
    clip=EXAMPLE_CLIP,
    clip_sha256="a4839eaaa3d54bd2db6eb48aa3d40def1b5c5004df3fd163a8dcd045097f8a23",
    labels=("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown"),
    published_scores=(
        (
            1.0,
            4.294446742658664e-12,
            7.61923163450362e-12,
            1.8145565605642844e-10,
            7.18820003520193e-11,
            1.369129571678453e-14,
            9.774003828511013e-11,
            8.875773449545932e-10,
            5.661997978550056e-21,
        ),
        (
            1.0,
            4.307079432691596e-12,
            7.651620656523583e-12,
            1.8212416297291867e-10,
            7.213059316502068e-11,
            1.3731805914519914e-14,
            9.798530042903764e-11,
            8.913316751346656e-10,
            5.704816692153179e-21,
        ),
    ),
    log_tolerance=0.02,
)
