"""What can go wrong with bulk work as a whole; a bad recording is a row of the results instead."""

from collections.abc import Sequence

from emotion.errors import EmotionError


class PlaceRefused(EmotionError):
    """A word or a line of a manifest names a place that is not read."""

    code = "place_refused"


class StorageMissing(EmotionError):
    """The package for this kind of storage is not installed."""

    code = "storage_missing"

    def __init__(self, protocol: str, package: str) -> None:
        super().__init__(f"{protocol}:// needs a package that is not installed: pip install {package}")


class SourceMissing(EmotionError):
    code = "source_missing"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is not there, or cannot be read. Check the name and its permissions.", name=name)


class ManifestInvalid(EmotionError):
    """A manifest cannot be read, or one of its lines names no recording."""

    code = "manifest_invalid"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The manifest {name!r} cannot be used: {reason}.", name=name)


class ResultsInUse(EmotionError):
    """Another command writes the same results, or has taken them over."""

    code = "results_in_use"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Another command writes the results in {name!r}. Wait for it, end it, or choose another folder.", name=name
        )


class ResultsDiffer(EmotionError):
    """The results that are there were made in another way."""

    code = "results_differ"

    def __init__(self, name: str, differences: Sequence[str]) -> None:
        super().__init__(
            f"The results in {name!r} were begun in another way: {'; '.join(differences)}. Go on with the words of "
            "then, choose another folder, or lose them and begin anew with --overwrite.",
            name=name,
        )


class ResultsNotOurs(EmotionError):
    code = "results_not_ours"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} holds Parquet files without the _state.json of this program. Choose an empty folder.", name=name
        )


class ResultsUnwritable(EmotionError):
    code = "results_unwritable"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The results in {name!r} cannot be read or written: {reason}. What is written there stays good; "
            "the same command goes on from it.",
            name=name,
        )


class PartDamaged(EmotionError):
    code = "part_damaged"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot be read. Delete it, and its recordings are done again when you repeat the command.",
            name=name,
        )


class BulkStopped(EmotionError):
    """So many recordings failed one after the other, and not for what they are, that going on makes no sense."""

    code = "bulk_stopped"

    def __init__(self, failures: int, last: str) -> None:
        super().__init__(
            f"The last {failures} recordings all failed, and not because of what is in them: {last} Cure that, then "
            "repeat the command with --retry-failed.",
            failures=failures,
        )


class ClusterFailed(EmotionError):
    """Ray gave up; parts that are written stay."""

    code = "cluster_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The work on the cluster ended: {reason} What is written stays; the same command goes on.")
