"""Find rows that repeat another row: its answers under other weights, or its weights under another name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.companions import load_completions
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry, Result

# Answers shorter than this are equal by chance; a row needs so many longer ones to be compared with another.
_LONG_TOKENS, _LONG_CHARACTERS, _LEAST_LONG_ANSWERS = 16, 64, 8
# Items of each selection that are looked up in all rows; rows that share most of these are compared item by item.
_SAMPLED_ITEMS = 64
_COPIED_SHARE = 0.9
# The forms of each answer by problem: digests of its tokens and of its text, or of its likelihoods; none if short.
AnswerForms = Mapping[str, frozenset[str]]


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
    return one.trained is not None and one.trained == other.trained


def find_copied_answers(rows: Sequence[StoredRow]) -> CopySearch:
    """Find rows of which nearly all answers are those of an earlier row with other weights, by token ids or by text.

    Rows of other selections of problems are compared on the problems that both have. Answers may repeat between runs
    of one model, kept states of one training, and a training and its base, and where they come from a script or a
    server. Trusted rows are read only where their bits leave the possibility open.

    Args:
        rows: the earlier ones first; the files of those that are not trusted are sound.
    """
    groups: dict[str, list[StoredRow]] = {}
    for row in rows:
        if row.result.model.weights_sha256 is not None and not row.result.is_scripted:
            groups.setdefault(row.result.task.items_sha256, []).append(row)
    copies: list[Repetition] = []
    damaged: list[tuple[StoredRow, BenchError]] = []
    for group in groups.values():
        answered: dict[str, AnswerForms] = {}
        for row in _list_possible_copies(group, answered):
            try:
                if (answers := row.answers) is None:
                    answers = list_answer_forms(load_completions(row.path, row.entry))
                answered[row.file] = answers
            except BenchError as error:
                damaged.append((row, error))
        copies += _find_copies([(row, answered[row.file]) for row in group if row.file in answered])
    return CopySearch(tuple(copies), tuple(damaged))


def _list_possible_copies(group: Sequence[StoredRow], answered: Mapping[str, AnswerForms]) -> Iterator[StoredRow]:
    """Yield the new rows and one of each selection, then the trusted ones that may repeat a new row or be repeated.

    Args:
        group: rows of the same problems or of parts of them.
        answered: the answers of the rows yielded so far that can be read, by file.
    """
    new = [row for row in group if not row.trusted]
    if not new:
        return
    firsts = {row.result.selection.ids_sha256: row for row in reversed([*new, *group])}
    read = {row.file: row for row in (*new, *firsts.values())}
    yield from read.values()
    ids = {selection: tuple(answered[row.file]) for selection, row in firsts.items() if row.file in answered}
    for row in group:
        if row.file not in read and any(_may_be_equal(row, one, ids) for one in new):
            yield row


def _may_be_equal(one: StoredRow, other: StoredRow, ids: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether the bits differ on few enough of the problems that both have: equal answers have equal bits.

    Args:
        ids: of the problems, by the digest of a selection.
    """
    selection, other_selection = (row.result.selection.ids_sha256 for row in (one, other))
    if selection == other_selection:
        pairs = zip(_get_bits(one), _get_bits(other), strict=True)
        differing = max((int(text, 16) ^ int(other_text, 16)).bit_count() for text, other_text in pairs)
        return differing <= (1 - _COPIED_SHARE) * one.result.counts.total
    bits, other_bits = (_map_bits(row, ids) for row in (one, other))
    shared = bits.keys() & other_bits.keys()
    differing = sum(bits[problem] != other_bits[problem] for problem in shared)
    return not (bits and other_bits) or differing <= (1 - _COPIED_SHARE) * len(shared)


def _get_bits(row: StoredRow) -> tuple[str, str]:
    return row.result.bits.correct, row.result.bits.cut


def _map_bits(row: StoredRow, ids: Mapping[str, Sequence[str]]) -> dict[str, tuple[bool, ...]]:
    """Return whether each item is right and whether it was cut, by problem; empty if nobody knows the problems."""
    items = zip(*(hex_to_bits(text, row.result.counts.total) for text in _get_bits(row)), strict=True)
    return dict(zip(ids.get(row.result.selection.ids_sha256, ()), items, strict=False))


def _find_copies(rows: Sequence[tuple[StoredRow, AnswerForms]]) -> Iterator[Repetition]:
    """Compare each row with those that share most of its sampled answers; one repetition a row, unrelated first."""
    selections = {tuple(answers) for _, answers in rows}
    sampled = {one for ids in selections for one in ids[:: max(1, len(ids) // _SAMPLED_ITEMS)]}
    seen: dict[tuple[str, str], list[int]] = {}
    for index, (row, answers) in enumerate(rows):
        sample = {one: answers[one] for one in answers if one in sampled and answers[one]}
        shared = Counter(
            other
            for one, forms in sample.items()
            for other in {place for form in forms for place in seen.get((one, form), ())}
        )
        found = []
        for place, count in shared.most_common(_LEAST_LONG_ANSWERS):
            other, other_answers = rows[place]
            comparable = sum(one in other_answers for one in sample)
            if count >= 0.8 * comparable and not row.trusted and _have_other_weights(row, other):
                share = _measure_share(answers, other_answers)
                if share >= _COPIED_SHARE:
                    found.append(Repetition(row.file, other.file, share, _are_related(row, other)))
        yield from sorted(found, key=lambda repetition: repetition.related)[:1]
        for key in [(one, form) for one, forms in sample.items() for form in forms]:
            same = seen.setdefault(key, [])
            if len(sample) >= _LEAST_LONG_ANSWERS and len(same) < _LEAST_LONG_ANSWERS:
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
    """Return the share of the long answers to shared problems that are equal in one form; 0 for too few of them."""
    shared = [(answer, others[problem]) for problem, answer in answers.items() if problem in others]
    long = [(answer, other) for answer, other in shared if answer or other]
    equal = sum(not answer.isdisjoint(other) for answer, other in long)
    return equal / len(long) if equal >= _LEAST_LONG_ANSWERS else 0.0


def list_answer_forms(completions: Sequence[CommittedCompletion]) -> AnswerForms:
    """List the forms in which each answer is compared with those of other rows, by problem."""
    return {line.id: frozenset(_list_forms(line)) for line in completions}


def _list_forms(line: CommittedCompletion) -> Iterator[str]:
    if line.likelihoods:
        yield digest(line.likelihoods)
        return
    if line.ids_sha256 is not None and (line.tokens or 0) >= _LONG_TOKENS:
        yield line.ids_sha256
    texts = [line.text, *(line.more or ())]
    if sum(map(len, texts)) >= _LONG_CHARACTERS:
        yield digest(texts)
