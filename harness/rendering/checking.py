"""Checks the leaderboards for entries that were made up, edited, renamed or removed, and says how to fix each fault."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.analysis.claims import registration
from baseline_bench.core.errors import BenchError, UnreachableError
from baseline_bench.core.markup import make_visible
from baseline_bench.core.parallel import map_in_processes
from baseline_bench.core.records import digest
from baseline_bench.evaluation import regrading
from baseline_bench.rendering import leaderboard, stray_files
from baseline_bench.rendering.faults import Fault, format_command, format_path
from baseline_bench.rendering.leaderboard import StoredRecords
from baseline_bench.results import advisories, companions, duplicates, entries, history, retractions
from baseline_bench.results.advisories import Advisory
from baseline_bench.results.board import Row
from baseline_bench.results.duplicates import AnswerForms, CopySearch, Repetition, StoredRow
from baseline_bench.results.entries import AuditedEntry, EntryFault, RegradeFunction
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.history import NO_HISTORY, FolderHistory
from baseline_bench.results.retractions import Regrade

# A check of an entry takes milliseconds without judgements, and a second with those of a whole test split.
_ENTRIES_PER_PROCESS = 8
_RECORD_ADVICE = "restore the file or what it names from git, or write it again with the command that made it"
# What all entries of a label share: a second value under the same label is a fault of the later entry.
_FIXED_BY_LABEL: Mapping[str, Callable[[Entry], object]] = {
    "protocol": lambda entry: entry.result.task.protocol_sha256,
    "items": lambda entry: entry.result.task.items_sha256,
    "reader": lambda entry: entry.result.task.reader,
    "sampling": lambda entry: digest(entry.result.sampling),
    "number of items": lambda entry: entry.result.selection.total,
    "item list": lambda entry: None if entry.result.selection.limit is not None else entry.result.selection.ids_sha256,
}


@dataclass(frozen=True, slots=True)
class CheckedEntry:
    """An entry whose files were checked.

    Attributes:
        file: relative to the folder.
        entry: None where it cannot be read.
        problems: of its files.
        trusted: whether the merge-base holds all its files unchanged, so that they were not checked again.
        answers: the forms of its answers; None where they were not read.
        record_faults: of the re-grades of it that are new.
        unreachable: why a file of it was not read, because its store does not answer; None if none was out of reach.
    """

    file: str
    entry: Entry | None
    problems: tuple[EntryFault, ...]
    trusted: bool = False
    answers: AnswerForms | None = None
    record_faults: tuple[Fault, ...] = ()
    unreachable: str | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The faults of a folder, sorted by file; notes on what is no fault but may surprise; and what was checked."""

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    checked: str


def find_faults(folder: Path, regrade: RegradeFunction | None = None, base: str | None = None) -> list[Fault]:
    """Return the faults alone; see `check_leaderboards`."""
    return list(check_leaderboards(folder, regrade, base).faults)


def check_leaderboards(
    folder: Path,
    regrade: RegradeFunction | None = None,
    base: str | None = None,
    *,
    accept_unreachable: bool = False,
    report: Callable[[int, int], object] | None = None,
) -> CheckReport:
    """Check the folder and return its faults and notes.

    Args:
        folder: the leaderboards.
        regrade: grades committed completions again (level L1); None skips that.
        base: a git ref; every record in its merge-base with HEAD must be here unchanged.
        accept_unreachable: a store that does not answer is a note; since the base it may not have changed, and rows
            that are new since then are faults.
        report: called after every entry, with (entries checked, all entries).

    Raises:
        BenchError: there is no such folder or no git repository, or git does not know the base.
    """
    names = leaderboard.list_boards(folder)
    base_history = NO_HISTORY if base is None else history.read_folder_history(folder, base)
    records = {board.name: leaderboard.read_board_records(board) for board in leaderboard.list_folders(folder)}
    checked_entries = _check_entries(folder, records, regrade, base_history, report)
    readable = [(checked.file, checked.entry) for checked in checked_entries if checked.entry is not None]
    rows = _list_counting_rows(folder, checked_entries, records)
    search = duplicates.find_copied_answers(rows)
    known, pages = _check_pages(folder, names, checked_entries, records)
    store_faults = list(_find_store_faults(folder, checked_entries, search))
    accepted = accept_unreachable and (base is None or companions.STORE_FILE in base_history.unchanged)
    faults = [
        *([] if accepted else store_faults),
        *_find_changed_files(folder, checked_entries, base_history),
        *_find_changed_claims(folder, readable, base_history),
        *_find_entry_faults(folder, checked_entries, readable, base_history),
        *_find_repetitions(rows, search),
        *_find_record_faults(folder, records, base_history),
        *stray_files.find_stray_files(folder, names),
        *pages,
    ]
    notes = [*_note_equal_weights(folder, readable), *_note_related_copies(search.copies)]
    notes += [*_note_missing_regrades(rows, records), *_note_advisories(folder, readable, known)]
    notes += [make_visible(f"note: {fault.file}: {fault.what}") for fault in store_faults if accepted]
    checks = _describe_checks(names, checked_entries, base_history, regraded=regrade is not None)
    return CheckReport(tuple(sorted(faults, key=lambda fault: (fault.file, fault.what))), tuple(notes), checks)


def _describe_checks(
    names: Sequence[str], checked_entries: Sequence[CheckedEntry], base_history: FolderHistory, *, regraded: bool
) -> str:
    trusted = sum(checked.trusted for checked in checked_entries)
    unread = sum(checked.unreachable is not None for checked in checked_entries)
    read = "numbers, digests, completions, losses" + (", judgements" if regraded else "")
    read += f"; of {unread:,} the numbers alone" if unread else ""
    parts = [
        f"{len(checked_entries) - trusted:,} entries ({read})",
        f"pages, records and claims of {len(names):,} boards",
    ]
    if commit := base_history.commit[:12]:
        parts += [f"{trusted:,} more entries as {commit} holds them", f"every file of {commit}"]
    return f"checked {'; '.join(parts)}; repeated answers, names of weights, stray files"


def _check_entries(
    folder: Path,
    records: Mapping[str, StoredRecords],
    regrade: RegradeFunction | None,
    base_history: FolderHistory,
    report: Callable[[int, int], object] | None,
) -> list[CheckedEntry]:
    unchecked: dict[str, str] = getattr(regrade, "unchecked", {})  # a Regrader's, of which each process has a copy

    def check(path: Path) -> tuple[CheckedEntry, Mapping[str, str]]:
        return _check_entry(path, records[path.parent.name].said.regrades, regrade, base_history), unchecked

    paths = [path for name in leaderboard.list_boards(folder) for path in leaderboard.list_entry_files(folder / name)]
    results = map_in_processes(check, paths, _ENTRIES_PER_PROCESS, report)
    for _, found in results:
        unchecked.update(found)
    return [checked for checked, _ in results]


def _check_entry(
    path: Path, regrades: Sequence[Regrade], regrade: RegradeFunction | None, base_history: FolderHistory
) -> CheckedEntry:
    """Check the entry's files, and the re-grades of it where they or the entry are new."""
    board = path.parent
    file = f"{board.name}/{path.name}"
    trusted = _is_unchanged(board.parent, file, base_history)
    unchanged = base_history.unchanged if trusted else frozenset()
    records = [
        record
        for record in regrades
        if record.entry == path.name and f"{board.name}/{retractions.record_path(record)}" not in unchanged
    ]
    if trusted and not records:
        try:
            return CheckedEntry(file, entries.read_entry(path), (), trusted=True)
        except BenchError as error:
            return CheckedEntry(file, None, (EntryFault(error.what, error.way_out),))
    audited = entries.audit_entry(path, None if trusted else regrade)
    answers = duplicates.list_answer_forms(audited.completions)
    record_faults = tuple(_find_regrade_faults(board, records, audited, regrade))
    return CheckedEntry(file, audited.entry, audited.faults, trusted, answers, record_faults, audited.unreachable)


def _find_regrade_faults(
    board: Path, records: Iterable[Regrade], audited: AuditedEntry, regrade: RegradeFunction | None
) -> Iterator[Fault]:
    """Find re-grades that do not follow from the completions of their entry; none where it has faults or none."""
    if audited.entry is None or audited.faults or audited.unreachable is not None:
        return
    for record in records:
        file = format_path(board, retractions.record_path(record))
        try:
            problems = regrading.find_regrade_faults(record, audited.entry, audited.completions, regrade)
        except BenchError as error:
            yield Fault(file, error.what, error.way_out or _RECORD_ADVICE)
            continue
        for problem in problems:
            yield Fault(file, problem, f"delete it and run {format_command('bench', 'regrade', board.as_posix())}")


def _is_unchanged(folder: Path, file: str, base_history: FolderHistory) -> bool:
    """Tell whether the merge-base holds the entry, its companion files and their store as they are here."""
    stem = file.removesuffix(leaderboard.ENTRY_SUFFIX)
    where = {companions.STORE_FILE, stem + companions.COMPLETIONS} & base_history.unchanged
    return bool(where) and all(
        name in base_history.unchanged or (name not in base_history.frozen and not (folder / name).exists())
        for name in (file, *(stem + suffix for suffix in companions.SUFFIXES))
    )


def _is_claims_file(file: str) -> bool:
    """Return whether it is a claims file: it may change, which its contrasts' age shows, but must not be removed."""
    return file.startswith(f"{leaderboard.CLAIMS_FOLDER}/") and file.endswith(".toml")


def _find_changed_files(
    folder: Path, checked_entries: Iterable[CheckedEntry], base_history: FolderHistory
) -> Iterator[Fault]:
    has_store = (folder / companions.STORE_FILE).is_file()
    read = {checked.file for checked in checked_entries if has_store and checked.unreachable is None}
    for file in base_history.changed:
        exists = (folder / file).exists()
        # A file that went into the store was read there: the check of its entry finds where that fails.
        if not exists and file.endswith(companions.COMPLETIONS) and f"{stray_files.strip_suffix(file)}.json" in read:
            continue
        if not stray_files.is_record_file(file) and (exists or not _is_claims_file(file)):
            continue
        what = "changed" if exists else "removed or renamed"
        yield Fault(
            format_path(folder, file),
            f"{what} since {base_history.commit[:12]}",
            _advise_restoring(folder, file, base_history),
        )


def _advise_restoring(folder: Path, file: str, base_history: FolderHistory, advice: str | None = None) -> str:
    """Advise how to restore a file that was sound before; else return `advice`, or advise to remove the entry."""
    if file in (base_history.frozen if advice is None else base_history.changed):
        return format_command("git", "checkout", base_history.commit[:12], "--", format_path(folder, file))
    if advice is not None:
        return advice
    if base_history is NO_HISTORY:
        return format_command("git", "checkout", "--", format_path(folder, file))
    return _advise_removing(folder, file)


def _advise_removing(folder: Path, file: str) -> str:
    """Advise to delete an entry that is proved to be unsound, with all its files."""
    stem = stray_files.strip_suffix(file).removesuffix(leaderboard.ENTRY_SUFFIX)
    parts = [
        stem + suffix
        for suffix in (leaderboard.ENTRY_SUFFIX, *companions.SUFFIXES)
        if (folder / (stem + suffix)).exists()
    ]
    return f"{format_command('git', 'rm', '-f', '--', *(format_path(folder, part) for part in parts))} and score again"


def _find_entry_faults(
    folder: Path,
    checked_entries: Sequence[CheckedEntry],
    readable: Iterable[tuple[str, Entry]],
    base_history: FolderHistory,
) -> Iterator[Fault]:
    """Find entries that are out of reach, faulty, or contradict an earlier one."""
    yield from _find_unread_rows(folder, checked_entries, base_history)
    for checked in checked_entries:
        for flaw in checked.problems:
            # Where the entry is readable, a flaw with advice lies in another file or in what reads the entry.
            fix = flaw.advice if checked.entry is not None else None
            yield Fault(
                format_path(folder, checked.file),
                flaw.what,
                fix or _advise_restoring(folder, checked.file, base_history, flaw.advice),
            )
        yield from checked.record_faults
    yield from _find_contradictions(folder, readable, base_history)


def _find_contradictions(
    folder: Path, readable: Iterable[tuple[str, Entry]], base_history: FolderHistory
) -> Iterator[Fault]:
    """Find entries that give a label or a name another meaning than the first one does."""
    first_seen: dict[tuple[str, str], tuple[object, str]] = {}
    # Entries of the base come first and count as right, whatever time a later entry gives itself.
    for file, entry in sorted(readable, key=lambda one: (one[0] not in base_history.frozen, one[1].created, one[0])):
        for subject, what, value in _list_fixed_values(entry):
            if value is None:  # unknown, such as the weights behind a server
                continue
            first_value, other_file = first_seen.setdefault((subject, what), (value, file))
            if value != first_value:
                compare = format_command("bench", "compare", format_path(folder, other_file), format_path(folder, file))
                fix = f"see what differs by {compare}; score again what has the wrong name or label, under its own"
                fix += " (--name), and do not commit this row"
                yield Fault(format_path(folder, file), f"{subject} has another {what} than in {other_file}", fix)


def _list_fixed_values(entry: Entry) -> Iterator[tuple[str, str, object]]:
    model = entry.result.model
    for what, value in _FIXED_BY_LABEL.items():
        yield f"label {entry.result.task.label!r:.80}", what, value(entry)
    parts = (("weights", model.weights_sha256), *(model.identity.parts if model.identity is not None else ()))
    for kind, name in (("candidate", entry.result.candidate), ("model", model.name)):
        for part, digested in parts:
            yield f"{kind} {name!r:.80}", part, digested


def _list_counting_rows(
    folder: Path, checked_entries: Sequence[CheckedEntry], records: Mapping[str, StoredRecords]
) -> list[StoredRow]:
    """List the sound rows that are not withdrawn, those of the merge-base first, then by time."""
    withdrawn = {f"{board}/{record.entry}" for board in records for record in records[board].said.retractions}
    rows = [
        StoredRow(
            folder / checked.file, format_path(folder, checked.file), checked.entry, checked.trusted, checked.answers
        )
        for checked in checked_entries
        if checked.entry is not None and not checked.problems and checked.file not in withdrawn
    ]
    return sorted(rows, key=lambda row: (not row.trusted, row.entry.created, row.file))


def _find_repetitions(rows: Sequence[StoredRow], search: CopySearch) -> Iterator[Fault]:
    """Find new rows that repeat the answers or the weights of other rows that count."""
    for row, error in search.damaged:
        if not isinstance(error, UnreachableError):
            yield Fault(row.file, error.what, error.way_out or _RECORD_ADVICE)
    for found in search.copies:
        if found.related:  # a note
            continue
        what = f"{100 * found.share:.0f} % of its answers are those of other weights in {found.first_file}"
        fix = "score the weights that it names, and do not commit this row; weights stored in two forms are one model"
        yield Fault(found.file, what, fix)
    for found in duplicates.find_renamed_weights(rows):
        fix = "score under that name (--name); to rename the model, withdraw its other rows with `bench retract`"
        yield Fault(found.file, f"the same weights have another name in {found.first_file}", fix)


def _find_store_faults(folder: Path, checked_entries: Iterable[CheckedEntry], search: CopySearch) -> Iterator[Fault]:
    """Find a store of completions that does not answer, and count the rows that were checked without theirs."""
    reasons = [checked.unreachable for checked in checked_entries if checked.unreachable is not None]
    reasons += [error.what for _, error in search.damaged if isinstance(error, UnreachableError)]
    if reasons:
        what = f"{len(reasons):,} rows were checked without their completions: {reasons[0]}"
        fix = "make the store reachable, or accept that with --accept-unreachable-store"
        yield Fault(format_path(folder, companions.STORE_FILE), what, fix)


def _find_unread_rows(
    folder: Path, checked_entries: Iterable[CheckedEntry], base_history: FolderHistory
) -> Iterator[Fault]:
    """Find new rows whose files are out of reach: nobody has seen that their numbers follow from their answers."""
    for checked in () if base_history is NO_HISTORY else checked_entries:
        if checked.unreachable is not None and checked.file not in base_history.unchanged:
            what = f"is new since the base, and a file of it was not read: {checked.unreachable}"
            fix = "make the store reachable; --accept-unreachable-store accepts rows of the base alone"
            yield Fault(format_path(folder, checked.file), what, fix)


def _find_changed_claims(
    folder: Path, readable: Iterable[tuple[str, Entry]], base_history: FolderHistory
) -> Iterator[Fault]:
    """Find claims that changed although rows of the merge-base already answer them."""
    rows = [Row(Path(file).name, entry) for file, entry in readable if file in base_history.frozen]
    for file in base_history.changed:
        if not _is_claims_file(file) or not (folder / file).is_file():
            continue
        try:
            changes = registration.find_changed_claims(folder / file, base_history.commit, rows)
        except BenchError:  # reported where the claims' pages are rendered
            continue
        for claim, part in changes:
            fix = "restore it, and add what you claim now as a claim with an id of its own"
            yield Fault(format_path(folder, file), f"claim {claim!r:.80}: {part} changed after its runs", fix)


def _note_advisories(folder: Path, readable: Iterable[tuple[str, Entry]], known: Sequence[Advisory]) -> Iterator[str]:
    """Note the rows whose numbers an advisory affects."""
    for file, entry in readable:
        for advisory in advisories.find_advisories(entry, known):
            yield make_visible(f"note: {format_path(folder, file)}: {advisory.describe()}")


def _note_related_copies(copies: Iterable[Repetition]) -> Iterator[str]:
    """Note trainings of one base, or a training and its base, that answer alike: one changed next to nothing."""
    for found in copies:
        if found.related:
            what = f"{100 * found.share:.0f} % of its answers are those of {found.first_file}, which shares its base"
            yield make_visible(f"note: {found.file}: {what}")


def _note_missing_regrades(rows: Sequence[StoredRow], records: Mapping[str, StoredRecords]) -> Iterator[str]:
    """Note rows of an older task version that the newest one can judge and has not judged."""
    newer = {task: regrading.find_newer_version(task) for task in {row.result.task for row in rows}}
    for row in rows:
        if (versions := newer[row.result.task]) is None:
            continue
        label = versions[1].LABEL
        regrades = records[row.path.parent.name].said.regrades
        if not any((one.entry, one.task.label) == (row.path.name, label) for one in regrades):
            advice = format_command("bench", "regrade", Path(row.file).parent.as_posix())
            what = f"its answers have no record of how {label} judges them; {advice} writes it"
            yield make_visible(f"note: {row.file}: {what}")


def _note_equal_weights(folder: Path, readable: Iterable[tuple[str, Entry]]) -> Iterator[str]:
    """Note rows with equal weights whose names and models differ, one line a name."""
    first_seen: dict[str, tuple[str, Result]] = {}
    noted_models: set[tuple[str, str]] = set()
    for file, entry in sorted(readable, key=lambda item: (item[1].created, item[0])):
        result = entry.result
        weights = result.model.weights_sha256
        if weights is None or result.model.identity is None:
            continue
        first_file, first_result = first_seen.setdefault(weights, (file, result))
        unlike = result.model.unlike(first_result.model) if first_result.candidate != result.candidate else ""
        if unlike and (weights, result.candidate) not in noted_models:
            noted_models.add((weights, result.candidate))
            what = f"the same weights as in {format_path(folder, first_file)}, with another {unlike}"
            yield make_visible(f"note: {format_path(folder, file)}: {what}")


def _find_record_faults(
    folder: Path, records: Mapping[str, StoredRecords], base_history: FolderHistory
) -> Iterator[Fault]:
    """Find faulty records of every kind, and those about absent entries."""
    for board, stored in records.items():
        for problem in stored.faults:
            file = f"{board}/{problem.file}"
            fix = _advise_restoring(folder, file, base_history, _RECORD_ADVICE)
            yield Fault(format_path(folder, file), problem.what, fix)


def _check_pages(
    folder: Path, names: Sequence[str], checked_entries: Sequence[CheckedEntry], records: Mapping[str, StoredRecords]
) -> tuple[tuple[Advisory, ...], list[Fault]]:
    """Return the advisories, and the faults of the pages, or of the advisories that no page can be rendered without."""
    try:
        known = advisories.read_advisories(folder)
    except BenchError as error:
        return (), [Fault(format_path(folder, advisories.FILE), error.what, error.way_out or _RECORD_ADVICE)]
    entries_by_board = {name: [one for one in checked_entries if one.file.startswith(f"{name}/")] for name in names}
    return known, list(_find_stale_pages(folder, entries_by_board, records, known))


def _find_stale_pages(
    folder: Path,
    entries_by_board: Mapping[str, Sequence[CheckedEntry]],
    records: Mapping[str, StoredRecords],
    known: Sequence[Advisory],
) -> Iterator[Fault]:
    loaded, texts = [], {}
    for name, files in entries_by_board.items():
        try:
            loaded.append(leaderboard.build_board(name, _select_sound_rows(folder, files), records[name], known))
        except BenchError:
            what = "has no page, for its name, its entries or its records are not sound"
            yield Fault(format_path(folder, name), what, "fix them first, name it with a-z, 0-9, - and _")
    try:
        for board in loaded:
            texts.update(leaderboard.render_board(folder, board))
        texts.update(leaderboard.render_claims_without_board(folder, list(entries_by_board)))
    except BenchError as error:
        yield Fault(
            format_path(folder, leaderboard.CLAIMS_FOLDER), error.what, error.way_out or "correct the claims first"
        )
    if len(loaded) == len(entries_by_board):  # the README lists every board
        texts["README.md"] = leaderboard.render_readme(loaded)
    for file, text in texts.items():
        if leaderboard.is_stale(folder / file, text):
            yield Fault(format_path(folder, file), "is not what the entries give", "`bench board`")


def _select_sound_rows(folder: Path, files: Iterable[CheckedEntry]) -> list[Row]:
    """Return a board's rows if all their numbers are sound; missing or wrong completions do not hide its page."""
    rows = []
    for checked in files:
        path = folder / checked.file
        if checked.entry is None or (checked.problems and entries.check_entry_file(path, checked.entry)):
            raise BenchError(f"{checked.file} is not sound")
        rows.append(Row(path.name, checked.entry))
    return rows
