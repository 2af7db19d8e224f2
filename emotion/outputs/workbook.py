"""The summary of a batch as an Excel workbook, in which numbers are numbers and text is never a formula."""

import csv
import logging
from pathlib import Path
from typing import Any

from emotion.outputs.exports import plain_cell

_LOG = logging.getLogger(__name__)
# Text whatever it looks like: a recording may be called `123`.
_TEXT_COLUMNS = frozenset({"file", "emotion", "model", "folder", "error"})
_WIDE, _NARROW = 36, 12


def write_workbook(summary: Path, target: Path) -> None:
    """Make an XLSX file of a `summary.csv`, with a header that stays in sight and a filter for each column.

    Without room for it there is none: the CSV says the same.
    """
    # Costs 60 ms, and only batches need it.
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import XlsxWriterException

    try:
        _write(Workbook(str(target), {"constant_memory": True}), summary)
    except (OSError, XlsxWriterException) as error:
        _LOG.warning("the workbook of a batch could not be written: %s", error)
        target.unlink(missing_ok=True)


def _write(workbook: Any, summary: Path) -> None:
    with (
        workbook as book,
        summary.open(encoding="utf-8-sig", newline="") as file,
    ):
        sheet, rows = book.add_worksheet("summary"), csv.reader(file)
        columns = next(rows)
        sheet.freeze_panes(1, 1)
        bold, last = book.add_format({"bold": True}), 0
        for index, column in enumerate(columns):
            sheet.set_column(index, index, _WIDE if column in ("file", "error") else _NARROW)
            sheet.write_string(0, index, column, bold)
        for last, row in enumerate(rows, start=1):
            for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
                _write_cell(sheet, last, index, cell, is_text=column in _TEXT_COLUMNS)
        sheet.autofilter(0, 0, last, len(columns) - 1)


def _write_cell(sheet: Any, row: int, column: int, cell: str, is_text: bool) -> None:
    if cell in ("true", "false") and not is_text:
        sheet.write_boolean(row, column, cell == "true")
    elif cell and not is_text:
        sheet.write_number(row, column, float(cell))
    elif cell:
        sheet.write_string(row, column, plain_cell(cell))
