"""What can go wrong with bulk work as a whole; a bad recording is a row of the results instead."""

from emotion.errors import EmotionError


class PlaceRefused(EmotionError):
    """A word or a line of a manifest names a place that is not read."""

    code = "place_refused"


class StorageMissing(EmotionError):
    """The package for this kind of storage is not installed."""

    code = "storage_missing"
    template = "{protocol}:// needs a package that is not installed: pip install {package}"
    protocol: str
    package: str


class SourceMissing(EmotionError):
    code = "source_missing"
    template = "{name!r} is not there, or cannot be read. Check the name and its permissions."
    name: str


class ManifestInvalid(EmotionError):
    """A manifest cannot be read, or one of its lines names no recording."""

    code = "manifest_invalid"
    template = "The manifest {name!r} cannot be used: {reason}."
    name: str
    reason: str


class ResultsInUse(EmotionError):
    """Another command writes the same results, or has taken them over."""

    code = "results_in_use"
    template = "Another command writes the results in {name!r}. Wait for it, end it, or choose another folder."
    name: str


class ResultsDiffer(EmotionError):
    """The results that are there were made in another way."""

    code = "results_differ"
    template = (
        "The results in {name!r} were made in another way: {differences}. Repeat the command with the options of that "
        "time, choose another folder, or delete them and start again with --overwrite."
    )
    name: str
    differences: str


class ResultsNotOurs(EmotionError):
    code = "results_not_ours"
    template = "{name!r} holds Parquet files without the _state.json of this program. Choose an empty folder."
    name: str


class ResultsUnwritable(EmotionError):
    code = "results_unwritable"
    template = (
        "The results in {name!r} cannot be read or written: {reason}. What is written there stays good; the same "
        "command goes on from it."
    )
    name: str
    reason: str


class PartDamaged(EmotionError):
    code = "part_damaged"
    template = "{name} cannot be read. Delete it, and its recordings are done again when you repeat the command."
    name: str


class BulkStopped(EmotionError):
    """So many recordings failed one after the other, and not for what they are, that going on makes no sense."""

    code = "bulk_stopped"
    template = (
        "The last {failures} recordings all failed, and not because of what is in them: {last} Cure that, then repeat "
        "the command with --retry-failed."
    )
    failures: int
    last: str


class ClusterFailed(EmotionError):
    """Ray gave up; parts that are written stay."""

    code = "cluster_failed"
    template = "The work on the cluster ended: {reason} What is written stays; the same command goes on."
    reason: str
