"""Analyses in; run folders and exports out.

    files = write_run(Path("outputs"), analysis, exports=["srt", "textgrid"])
    with BatchRun(Path("outputs")) as batch:
        batch.add(analysis)
    History(Path("outputs")).runs(search="call", limit=20)

`run` writes the folders and result.json, `exports` the formats of other programs, `folders` makes a folder appear
whole or not at all, `names` makes its name safe, `locks` says that it is being written, `mirror` writes it to a second
place. `history` finds and opens what was written: `places` checks names, `entries` reads what a list shows, `stored` a
whole analysis, `archive` packs a run, `retention` deletes.
"""

from emotion.analysis import ExportFormat
from emotion.outputs.exports import EXPORT_FORMATS, write_export
from emotion.outputs.folders import remove_stale
from emotion.outputs.history import ClipEntry, History, RunEntry, RunPage
from emotion.outputs.names import safe_name
from emotion.outputs.retention import Retention, RetentionTask
from emotion.outputs.run import BatchRun, ClipFiles, write_run

__all__ = [
    "EXPORT_FORMATS",
    "BatchRun",
    "ClipEntry",
    "ClipFiles",
    "ExportFormat",
    "History",
    "Retention",
    "RetentionTask",
    "RunEntry",
    "RunPage",
    "remove_stale",
    "safe_name",
    "write_export",
    "write_run",
]
