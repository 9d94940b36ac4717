"""Find rows that repeat another row: its answers under other weights, or its weights under another name."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest
from baseline_bench.results import audit, entries
from baseline_bench.results.completions import CommittedCompletion, decompress_file, parse_completions
from baseline_bench.results.entry import Entry, Result

# Answers shorter than this are equal by chance; a row needs so many longer ones to be compared with another.
_LONG_TOKENS, _LONG_CHARACTERS, _LEAST_LONG_ANSWERS = 16, 64, 8
# Items of a row that are looked up among those of other rows; rows that share most of these are compared item by item.
_SAMPLED_ITEMS = 64
_COPIED_SHARE = 0.9
# The forms of each answer, in item order: digests of its tokens and of its text, or of its likelihoods; none if short.
AnswerForms = tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A sound entry and its file.

    Attributes:
        path: of the entry.
        file: the path as it is reported.
        trusted: whether the merge-base holds it.
        answers: their forms; None where nobody has read them yet.
    """

    path: Path
    file: str
    entry: Entry
    trusted: bool = False
    answers: AnswerForms | None = None

    @property
    def result(self) -> Result:
        """All of the row but its timings."""
        return self.entry.result


@dataclass(frozen=True, slots=True)
class Repetition:
    """A row that repeats an earlier one: both files, and the share of its answers that are equal.

    `related`: the two are trainings of one base, or the row is the base of the earlier one; a training that changes
    next to nothing leaves every answer as it was, so that this may be right.
    """

    file: str
    first_file: str
    share: float = 1.0
    related: bool = False


@dataclass(frozen=True, slots=True)
class CopySearch:
    """Rows that copy answers, and (row, error) of those whose completions cannot be read, which were not compared."""

    copies: tuple[Repetition, ...]
    damaged: tuple[tuple[StoredRow, BenchError], ...]


def find_renamed_weights(rows: Sequence[StoredRow]) -> Iterator[Repetition]:
    """Find new rows whose weights are of a model of another name in an earlier row, one for each name.

    A candidate's name alone may change. Left out are rows that answered from a script or with an adapter besides the
    weights, and the kept states of one training.

    Args:
        rows: the earlier ones first, without withdrawn ones: a model is renamed by withdrawing its rows.
    """
    first_rows: dict[str, StoredRow] = {}
    reported = set()
    for row in rows:
        result = row.result
        weights = result.model.weights_sha256
        if weights is None or result.is_scripted or result.engine.settings.get("adapter"):
            continue
        first = first_rows.setdefault(weights, row)
        key = weights, result.model.name
        if result.model.name == first.result.model.name or key in reported or _have_one_training(result, first.result):
            continue
        # Another configuration is another model.
        if not row.trusted and not result.model.unlike(first.result.model):
            reported.add(key)
            yield Repetition(row.file, first.file)


def _have_one_training(one: Result, other: Result) -> bool:
    if one.training is None or other.training is None or one.training.candidate is None:
        return False
    return one.training.candidate == other.training.candidate


def find_copied_answers(rows: Sequence[StoredRow]) -> CopySearch:
    """Find rows of which nearly all answers are those of an earlier row with other weights, by token ids or by text.

    Answers may repeat between runs of one model, kept states of one training, and a training and its base, and where
    they come from a script or a server. Trusted rows are read only where their bits leave the possibility open.

    Args:
        rows: the earlier ones first; the files of those that are not trusted are sound.
    """
    groups: dict[tuple[str, str], list[StoredRow]] = {}
    for row in rows:
        if row.result.model.weights_sha256 is not None and not row.result.is_scripted:
            groups.setdefault((row.result.task.items_sha256, row.result.selection.ids_sha256), []).append(row)
    copies: list[Repetition] = []
    damaged: list[tuple[StoredRow, BenchError]] = []
    for group in groups.values():
        new = [row for row in group if not row.trusted]
        answered = []
        for row in group:
            if not row.trusted or any(_may_be_equal(row, one) for one in new):
                try:
                    answered.append((row, _read_answers(row) if row.answers is None else row.answers))
                except BenchError as error:
                    damaged.append((row, error))
        copies += _find_copies(answered)
    return CopySearch(tuple(copies), tuple(damaged))


def _may_be_equal(one: StoredRow, other: StoredRow) -> bool:
    """Tell whether the bits differ on few enough items: equal answers have equal bits."""
    limit = (1 - _COPIED_SHARE) * one.result.counts.total
    pairs = zip(
        (one.result.bits.correct, one.result.bits.cut), (other.result.bits.correct, other.result.bits.cut), strict=True
    )
    return all((int(first, 16) ^ int(second, 16)).bit_count() <= limit for first, second in pairs)


def _find_copies(rows: Sequence[tuple[StoredRow, AnswerForms]]) -> Iterator[Repetition]:
    """Compare each row with those that share most of its sampled answers; one repetition a row, unrelated first."""
    seen: dict[tuple[int, str], list[int]] = {}
    for index, (row, answers) in enumerate(rows):
        step = max(1, len(answers) // _SAMPLED_ITEMS)
        sample = [
            {(place, form) for form in answers[place]} for place in range(0, len(answers), step) if answers[place]
        ]
        shared = Counter(other for keys in sample for other in {one for key in keys for one in seen.get(key, ())})
        found = []
        for place, count in shared.most_common(_LEAST_LONG_ANSWERS):
            other, other_answers = rows[place]
            if count >= 0.8 * len(sample) and not row.trusted and _have_other_weights(row, other):
                share = _measure_share(answers, other_answers)
                if share >= _COPIED_SHARE:
                    found.append(Repetition(row.file, other.file, share, _are_related(row, other)))
        yield from sorted(found, key=lambda repetition: repetition.related)[:1]
        for key in set().union(*sample) if len(sample) >= _LEAST_LONG_ANSWERS else ():
            same = seen.setdefault(key, [])
            if len(same) < _LEAST_LONG_ANSWERS:
                same.append(index)


def _have_other_weights(row: StoredRow, earlier: StoredRow) -> bool:
    weights = earlier.result.model.weights_sha256
    return weights not in (row.result.model.weights_sha256, row.result.base_sha256) and not _have_one_training(
        row.result, earlier.result
    )


def _are_related(row: StoredRow, earlier: StoredRow) -> bool:
    bases = row.result.base_sha256, row.result.model.weights_sha256
    return earlier.result.base_sha256 is not None and earlier.result.base_sha256 in bases


def _measure_share(answers: AnswerForms, others: AnswerForms) -> float:
    """Return the share of the long answers that are equal in one of their forms; 0 for too few of them."""
    long = [(answer, other) for answer, other in zip(answers, others, strict=True) if answer or other]
    equal = sum(not answer.isdisjoint(other) for answer, other in long)
    return equal / len(long) if equal >= _LEAST_LONG_ANSWERS else 0.0


def _read_answers(row: StoredRow) -> AnswerForms:
    """Read a row's completions; BenchError if they are damaged or are not the entry's."""
    path = entries.completions_path(row.path)
    lines = decompress_file(path)
    completions = parse_completions(lines, path.name)
    if problems := audit.check_completions(row.entry, completions, lines):
        raise BenchError(f"{path.name}: {problems[0]}")
    return list_answer_forms(completions)


def list_answer_forms(completions: Sequence[CommittedCompletion]) -> AnswerForms:
    """List the forms in which each answer is compared with those of other rows."""
    return tuple(frozenset(_list_forms(line)) for line in completions)


def _list_forms(line: CommittedCompletion) -> Iterator[str]:
    if line.likelihoods:
        yield digest(line.likelihoods)
        return
    if line.ids_sha256 is not None and (line.tokens or 0) >= _LONG_TOKENS:
        yield line.ids_sha256
    texts = [line.text, *(line.more or ())]
    if sum(map(len, texts)) >= _LONG_CHARACTERS:
        yield digest(texts)
