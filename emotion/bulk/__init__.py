"""Bulk work: any number of recordings into Parquet files, resumable after a kill, on one machine or on a Ray cluster.

    with Results("labels/").held() as results, Recognizer("compact", cache="off") as recognizer:
        before = results.claim(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
        progress = recognize_into(recognizer, results, Listing(["calls/"]), before)

`listing` and `manifests` find recordings as a stream, `storage` reads what lies on other machines, `pipeline` takes a
few at a time through the engine, `rows` and `parts` write Parquet, `results` are the parts with their state in a
`store`, `work` joins them on one machine, and `cluster` on many.
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
