"""Analyses in; run folders and exports out.

    files = write_run(Path("outputs"), analysis, exports=["srt", "textgrid"])
    with BatchRun(Path("outputs")) as batch:
        batch.add(analysis)

`run` writes the folders and result.json, `exports` the formats of other programs, `folders` makes a folder appear
whole or not at all, `names` makes its name safe.
"""

from emotion.outputs.exports import EXPORT_FORMATS, ExportFormat, write_export
from emotion.outputs.folders import remove_stale
from emotion.outputs.names import safe_name
from emotion.outputs.run import BatchRun, ClipFiles, write_run

__all__ = [
    "EXPORT_FORMATS",
    "BatchRun",
    "ClipFiles",
    "ExportFormat",
    "remove_stale",
    "safe_name",
    "write_export",
    "write_run",
]
