"""Bulk work: any number of recordings into Parquet files, resumable after a kill, on one machine or on a Ray cluster.

    with Results("labels/").held() as results, Recognizer("compact", cache="off") as recognizer:
        before = results.begin(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
        tally = recognise_into(recognizer, results, Listing(["calls/"]), before)

`listing` and `manifests` find recordings as a stream, `places` reads what lies on other machines, `lane` takes a few
at a time through the engine, `rows` and `parts` write Parquet, `results` is the folder with its state, `work` joins
them on one machine; `cluster` on many, with `blocks` that go to each `replica`.
"""

from emotion.bulk.cluster import connected, recognize_on_cluster, state_on_cluster
from emotion.bulk.errors import (
    BulkStopped,
    ManifestInvalid,
    PartDamaged,
    PlaceRefused,
    ResultsDiffer,
    ResultsInUse,
    ResultsNotOurs,
    StorageMissing,
)
from emotion.bulk.listing import Listing, Recording
from emotion.bulk.progress import BulkProgress, Watch
from emotion.bulk.results import Results, State, state_of
from emotion.bulk.work import recognize_into

__all__ = [
    "BulkProgress",
    "BulkStopped",
    "Listing",
    "ManifestInvalid",
    "PartDamaged",
    "PlaceRefused",
    "Recording",
    "Results",
    "ResultsDiffer",
    "ResultsInUse",
    "ResultsNotOurs",
    "State",
    "StorageMissing",
    "Watch",
    "connected",
    "recognize_into",
    "recognize_on_cluster",
    "state_of",
    "state_on_cluster",
]
