"""Boards as the tests of page, plot and sheet need them: bases, candidates trained on them, and records about them."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from baseline_bench.core.records import digest, encode_indented
from baseline_bench.results import noise
from baseline_bench.results.bits import Bits, bits_to_hex
from baseline_bench.results.board import Board, Row
from baseline_bench.results.candidate import BaseRecord, Candidate, DataRecord, TrainingCost, TrainingRecord
from baseline_bench.results.entries import build_file_stem
from baseline_bench.results.entry import Result, SolutionLikelihood
from baseline_bench.results.noise import NoiseRecord, NoiseRun
from baseline_bench.results.retractions import BoardRecords, Retraction, Verification
from samples import counted, entry, partial, result, sha

ITEMS = 1319
HOSTILE = "a|b` @octocat #12 $x$ <b> [l](http://e.vil) \u202e"


def row(of: Result, created: str = "2026-11-22T12:00:00Z") -> Row:
    """A row as it is read from its file."""
    made = entry(of, created)
    return Row(f"{build_file_stem(made)}.json", made)


def right(of: Result, places: Iterable[int], total: int = ITEMS) -> Result:
    """The same run with these items right."""
    chosen = set(places)
    correct = bits_to_hex([place in chosen for place in range(total)])
    none = bits_to_hex([False] * total)
    bits = Bits(correct, correct, none, none)
    selection = replace(of.selection, total=total, scored=total, ids_sha256=sha(f"ids {total}"))
    return replace(of, selection=selection, bits=bits, counts=bits.counts(total))


def labelled(of: Result, label: str) -> Result:
    """The same run of another version of the task."""
    return replace(of, task=replace(of.task, label=label, protocol_sha256=sha(label)))


def trained(base: str, recipe: str, seed: int = 0, step: int | None = None) -> Result:
    """A result of weights that were trained on the model `result(base)` makes."""
    name = f"{base}+{recipe}-s{seed}"
    made = Candidate(
        schema=1,
        created="2026-11-22T11:00:00Z",
        recipe=recipe,
        recipe_sha256=sha(recipe),
        values={"lr": 1e-4},
        seed=seed,
        base=BaseRecord(base, "hub:org/model", None, None, sha(base), sha("tokenizer"), None),
        data=DataRecord("rows", sha("rows"), 40, 1000, 100, ()),
        kind="full",
        weights="weights",
        weights_sha256=sha(name),
        checkpoints={},
        trainable=10,
        parameters=1000,
        changed=0.9,
        quantised=None,
        final_loss=0.5125,
        held_out_loss=None,
        losses_sha256=sha("losses"),
        cost=TrainingCost(10, 40, 1000, 100, 1.5, 12.5, 2**30, "CPU", 1),
        libraries={"torch": "2.11.0"},
    )
    return replace(result(name), training=TrainingRecord(made, step, None))


def retraction(of: Row, why: str, instead: Row | None = None, created: str = "2026-11-24T12:00:00Z") -> Retraction:
    """The record that withdraws a row."""
    content = hashlib.sha256(encode_indented(of.entry)).hexdigest()
    return Retraction(1, created, of.file, content, why, None if instead is None else instead.file)


def verification(of: Row, level: int) -> Verification:
    """The record of somebody who checked a row again."""
    content = hashlib.sha256(encode_indented(of.entry)).hexdigest()
    return Verification(1, "2026-11-24T12:00:00Z", of.file, content, level, ("seen",), (), of.result.provenance)  # type: ignore[arg-type]


def repeated(rights: Iterable[Iterable[int]]) -> NoiseRecord:
    """A model scored several times; the n-th run has these items right and n answers of other tokens."""
    of, none = result("base"), bits_to_hex([False] * ITEMS)
    runs, traces = [], []
    for number, places in enumerate(rights):
        chosen = set(places)
        traces.append([f"{number}-{place}" if place in chosen else str(place) for place in range(ITEMS)])
        correct = bits_to_hex([place in chosen for place in range(ITEMS)])
        runs.append(NoiseRun("all", ITEMS, correct, none, none, digest(traces[-1]), 2.0, 100))
    selection = replace(of.selection, total=ITEMS, scored=ITEMS)
    return NoiseRecord(
        1,
        "2026-11-22T12:00:00Z",
        of.candidate,
        of.task,
        selection,
        of.model,
        of.prompts_sha256,
        of.engine,
        of.provenance,
        tuple(runs),
        noise.pair_runs(traces),
        None,
    )


def golden() -> Board:
    """Everything that a page can hold: seeds, verdicts, versions, subsets, a server, records, a hostile name."""
    base, other = row(right(result("base"), range(24))), row(right(result("base"), range(25)), "2026-11-22T13:00:00Z")
    seeds = [row(right(trained("base", "full", seed), range(2, 60 + 3 * seed))) for seed in range(3)]
    lora = row(right(trained("base", "lora"), range(10, 33)))
    worse = right(trained("base", "broken"), range(4))
    dirty = row(replace(worse, provenance=replace(worse.provenance, git_dirty=True)))
    step = row(replace(right(trained("base", "full", 0, 40), range(5, 50)), candidate="base+full-s0-step40"))
    orphan = row(right(trained("elsewhere", "full"), range(40)))
    server = right(result(HOSTILE), range(ITEMS))
    server = replace(server, engine=replace(server.engine, name="openai", version="openai 1", settings={}))
    server = replace(server, model=replace(server.model, weights_sha256=None))
    told = row(replace(right(result("told"), range(30)), solutions=SolutionLikelihood(-0.8125, 100, sha("lines"))))
    bad, gone = row(right(result("bad"), range(99))), row(right(result("gone"), range(98)), "2026-11-22T11:00:00Z")
    older = [row(labelled(counted(result(name), ITEMS, 9), "counting-0shot@v0")) for name in ("base", "old|one")]
    rows = (base, other, *seeds, lora, dirty, step, orphan, row(server), told, row(partial(result("base"))))
    retractions = (retraction(bad, "wrong | prompt #12", told), retraction(gone, "no reason to keep it"))
    said = BoardRecords(retractions, (verification(base, 1), verification(lora, 2)))
    return Board("counting", (*rows, bad, gone, *older), said)
