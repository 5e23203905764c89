"""The whole of a benchmark: from the command line's rows to the report."""

from collections.abc import Sequence
from pathlib import Path

from reloclnet_mm.benchmarking.answers import Answers, answers_of
from reloclnet_mm.benchmarking.entries import Entry, Row
from reloclnet_mm.benchmarking.predictions import read_predictions
from reloclnet_mm.benchmarking.reference import (
    Reference,
    check_same,
    protocol_notes,
    read_reference,
)
from reloclnet_mm.benchmarking.report import write_report
from reloclnet_mm.benchmarking.results import summarize
from reloclnet_mm.benchmarking.rows import evaluate_entries
from reloclnet_mm.benchmarking.worker import config_of
from reloclnet_mm.errors import InputError
from reloclnet_mm.version import __version__


def run_benchmark(
    rows: Sequence[Row],
    folder: Path,
    *,
    threads: int | None = None,
    differ: tuple[str, str] | None = None,
    command: str | None = None,
) -> list[Path]:
    """Evaluate rows on the same queries and videos, and write the report.

    Args:
        rows: What to compare. Queries and videos are those of the first config of this package.
        folder: Folder of the report, and of the finished evaluations.
        threads: Number of torch's threads; None: torch's choice.
        differ: Names of the rows whose most different queries are shown; None: the two best.
        command: Command line that the report shows; None: it was made from Python.

    Returns:
        The report's files.

    Raises:
        InputError: A row cannot be used, or is of other data.
    """
    unknown = set(differ or ()) - {row.name for row in rows}
    if unknown or (differ and differ[0] == differ[1]):
        raise InputError(
            f'--differ {" ".join(differ)}: expected two of the rows '
            f'{", ".join(row.name for row in rows)}'
        )
    entries = list(dict.fromkeys(entry for row in rows for entry in row.entries))
    reference, own = read_references(entries)
    # Files that cannot be used are found before hours of evaluation.
    predictions = {
        entry: read_predictions(entry.path, reference) for entry in entries if not entry.is_config
    }
    models = [entry for entry in entries if entry.is_config]
    evaluated = evaluate_entries(
        models,
        folder / 'rows',
        queries=len(reference.queries),
        hours=reference.hours,
        threads=threads,
    )
    by_entry = dict(zip(models, evaluated, strict=True))

    def read_answers(entry: Entry) -> Answers:
        if entry in predictions:
            return predictions[entry]
        found = by_entry[entry]
        return answers_of(
            found.read_lists(), found.record.limits, own[entry], reference, str(entry)
        )

    records = {entry: found.record for entry, found in by_entry.items()}
    results = summarize(
        rows,
        read_answers,
        records,
        reference,
        differ=differ,
        notes=protocol_notes(reference, own.values()),
    )
    made = dict(command=command, version=__version__, machine=evaluated[0].record.machine)
    return write_report(dict(results, made=made), folder)


def read_references(entries: Sequence[Entry]) -> tuple[Reference, dict[Entry, Reference | None]]:
    """Read what the configs test on.

    Returns:
        That of the first config of this package, and that of each config; None for a config of
        another package.

    Raises:
        InputError: No config is of this package, or two are of different data.
    """
    settings = {entry: (entry.path, entry.options) for entry in entries if entry.is_config}
    by_config = {own: read_reference(config_of(entry)) for entry, own in settings.items()}
    known = [reference for reference in by_config.values() if reference is not None]
    if not known:
        raise InputError(
            'no row is a config with test_dataloader and test_corpus_dataloader over data sets of '
            'this package; give one, such as relocl_tvr.py:CHECKPOINT, for its queries and videos '
            'are those that rows are compared on'
        )
    for other in known[1:]:
        check_same(known[0], other)
    return known[0], {entry: by_config[own] for entry, own in settings.items()}
