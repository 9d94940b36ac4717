"""evaluation.engine_pool: a reload counts only where a proof with power says so; this file is the engine too."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from baseline_bench.core import child_process
from baseline_bench.core.early_processes import early_processes
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Request, Sampling, Value
from baseline_bench.engines import scripted
from baseline_bench.evaluation import engine_pool
from baseline_bench.evaluation.engine_pool import EnginePool
from baseline_bench.evaluation.plan import ResolvedEngine
from baseline_bench.evaluation.reload_reference import (
    MIN_BOUND,
    POSITIONS,
    ReferenceLogprobs,
    check_reload,
    measure_agreement,
    measure_distance,
)
from safetensors.numpy import load_file, save_file

VOCABULARY = 32
SEQUENCES = tuple(tuple(int(i) for i in np.random.default_rng(s).integers(0, VOCABULARY, 90)) for s in range(4))
ASKED = (Request("a", (1, 2, 3)), Request("b", (9,)))


@dataclass(frozen=True, slots=True)
class Options:
    """What a reload replaces ("all", "body": the head stays old, "none"), or that it is refused; noise in nats."""

    reload: str = "all"
    noise: float = 0.0


class Bigram:
    """A network whose next token depends on the last one only: the rows of body times head are its logits."""

    version = "bigram 1"
    context = 100

    def __init__(self, model: Model, options: Options) -> None:
        self.options = options
        self.weights = load_file(model.folder / "model.safetensors")
        self.closed = False
        self.settings: dict[str, Value] = {}
        self.draws = np.random.default_rng(7)

    def table(self) -> np.ndarray:
        """Log-probabilities of the next token by the last one."""
        logits = self.weights["body"] @ self.weights["head"]
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Greedy."""
        for request in requests:
            ids = [request.token_ids[-1]]
            for _ in range(sampling.max_tokens):
                ids.append(int(self.table()[ids[-1]].argmax()))
            yield request.id, Completion("", tuple(ids[1:]), "length")

    def reload(self, model: Model) -> None:
        """Replace what the options say, and say nothing of the rest."""
        if self.options.reload == "refused":
            raise BenchError("the prefix cache is in use", "start anew")
        names = {"all": ("body", "head"), "body": ("body",), "none": ()}[self.options.reload]
        self.weights |= {k: v for k, v in load_file(model.folder / "model.safetensors").items() if k in names}

    def prompt_logprobs(self, sequences):
        """Every position but the first, with the options' noise."""
        rows = [self.table()[list(ids[:-1])] for ids in sequences]
        own = [row[np.arange(len(row)), list(ids[1:])] for row, ids in zip(rows, sequences, strict=True)]
        noisy = [(row + self.options.noise * self.draws.standard_normal(len(row))).tolist() for row in own]
        return noisy, [row.argmax(-1).tolist() for row in rows]

    def close(self) -> None:
        """Note it."""
        self.closed = True


def load(model: Model, options: Options) -> Bigram:
    """As engines do."""
    return Bigram(model, options)


def build(folder: Path, seed: int, step: float = 1.0, width: int = 8) -> Model:
    """A checkpoint that lies `step` away from the one of seed 0."""
    folder.mkdir()
    first, own = np.random.default_rng(0), np.random.default_rng(seed)
    shapes = {"body": (VOCABULARY, width), "head": (width, VOCABULARY)}
    drawn = {name: (first.standard_normal(s), own.standard_normal(s)) for name, s in shapes.items()}
    save_file({k: (a + step * (b - a)).astype("float32") for k, (a, b) in drawn.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(f'{{"width": {width}, "transformers_version": "{seed}"}}')
    (folder / "tokenizer.json").write_text("{}")
    return Model(folder.name, "folder", None, folder, None, f"{folder.name}-{seed}")


@pytest.fixture
def models(tmp_path) -> list[Model]:
    """Three of one shape."""
    return [build(tmp_path / name, seed) for seed, name in enumerate(("base", "first", "second"))]


@pytest.fixture
def lines() -> list[str]:
    """What the user was told."""
    return []


def reference(model: Model) -> ReferenceLogprobs:
    """What these weights give without noise."""
    return ReferenceLogprobs.of(*Bigram(model, Options()).prompt_logprobs(SEQUENCES))


def warm(models, lines, *, known=None, **options) -> EnginePool:
    """An engine over these models, with a reference for each or for those in `known`."""
    pool = pool_of(ResolvedEngine("bigram", sys.modules[__name__], Options(**options)), lines)
    pool.references = {m.weights_sha256: reference(m) for m in (models if known is None else known)}
    pool.sequences = SEQUENCES
    return pool


def pool_of(engine: ResolvedEngine, lines: list[str]) -> EnginePool:
    """A pool that says its lines into a list."""
    return EnginePool(engine, SimpleNamespace(say=lines.append, warn=lines.append))


def answers(generator) -> dict[str, Completion]:
    """What it says to two prompts."""
    return dict(generator.complete(ASKED, Sampling(12), ()))


def noisy(one: ReferenceLogprobs, noise: float, seed: int = 0) -> ReferenceLogprobs:
    """The same weights through another engine: every log-probability is off a little."""
    draws = np.random.default_rng(seed)
    return replace(one, logprobs=tuple(tuple(x + noise * draws.standard_normal() for x in r) for r in one.logprobs))


def between(new: ReferenceLogprobs, old: ReferenceLogprobs, share: float) -> ReferenceLogprobs:
    """As if this share of the weights' effect had stayed old."""
    rows = zip(new.logprobs, old.logprobs, strict=True)
    return replace(new, logprobs=tuple(tuple(n + share * (o - n) for n, o in zip(*pair, strict=True)) for pair in rows))


def test_a_reference_keeps_the_last_positions_of_each_sequence(models):
    """However long the sequences, engines are compared over the same places."""
    one = reference(models[0])
    assert [len(row) for row in (*one.logprobs, *one.likeliest)] == [POSITIONS] * 8
    assert ReferenceLogprobs.of([[-1.0]], [[3]]) == ReferenceLogprobs(((-1.0,),), ((3,),))


def test_distance_and_agreement_are_over_all_positions():
    """Two positions of three agree, and the third is 0.6 nats off; references of other shape are a bug."""
    left, right = (
        ReferenceLogprobs.of([[-1.0, -2.0], [-3.0]], [[1, 2], [3]]),
        ReferenceLogprobs.of([[-1.0, -2.0], [-3.6]], [[1, 2], [4]]),
    )
    assert (measure_distance(left, right), measure_agreement(left, right)) == pytest.approx((0.2, 2 / 3))
    with pytest.raises(ValueError, match="zip"):
        measure_distance(left, ReferenceLogprobs.of([[-1.0]], [[1]]))


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02, 0.1])
def test_the_right_weights_are_proved_through_noise(models, noise):
    """An engine that is as near to the new reference as it was to its first one holds the new weights."""
    old, new = reference(models[0]), reference(models[1])
    found = check_reload(noisy(new, noise, 1), new, old, measure_distance(noisy(old, noise, 2), old))
    assert found.flaw is None
    assert found.to_new <= found.bound < found.to_old
    assert abs(found.lean) < 0.1
    assert found.agree_new == 1.0


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02, 0.1])
def test_old_weights_left_behind_are_caught(models, noise, share):
    """Wholly or partly old; even where noise allows for the distance, the differences point to the old weights."""
    old, new = reference(models[0]), reference(models[1])
    noise = noise * measure_distance(old, new)
    found = check_reload(
        noisy(between(new, old, share), noise, 1), new, old, measure_distance(noisy(old, noise, 2), old)
    )
    assert found.flaw is not None
    assert found.lean == pytest.approx(share, abs=0.05)


def test_a_small_share_of_old_weights_is_seen_under_the_noise(models):
    """A fifth of the old weights' effect lies within the bound here, and its direction gives it away."""
    old, new = reference(models[0]), reference(models[1])
    found = check_reload(between(new, old, 0.2), new, old, 0.1 * measure_distance(old, new))
    assert found.to_new <= found.bound
    assert found.to_old >= 3 * found.to_new
    assert found.flaw == "the reloaded weights lean by 20% to the old model"


def test_models_too_near_to_each_other_prove_nothing(models):
    """Where the old weights would pass as the new ones, even the right ones are no proof."""
    old = reference(models[0])
    new = noisy(old, MIN_BOUND / 2)
    assert "too near" in check_reload(new, new, old, 0.0).flaw
    assert "too near" in check_reload(old, old, old, 0.0).flaw


def test_what_contradicts_itself_is_no_proof(models):
    """A distance hardly better than the old one, the old model's choices, and what is no number."""
    old, new = reference(models[0]), reference(models[1])
    apart = measure_distance(old, new)
    assert "from the old one" in check_reload(noisy(new, 0.8 * apart), new, old, 0.3 * apart).flaw
    assert "agree with" in check_reload(replace(new, likeliest=old.likeliest), new, old, 0.0).flaw
    assert check_reload(noisy(new, float("nan")), new, old, 0.0).flaw is not None


def test_models_of_one_shape_go_through_one_engine(models, lines):
    """The first is loaded, the others are reloaded into the same generator and answer as if they had been loaded."""
    engine = warm(models, lines, noise=0.01)
    first, how = engine.load(models[0])
    assert (how.path, how.reload, how.found, how.why) == ("loaded", None, None, None)
    assert how.load >= 0
    assert how.proof >= 0
    assert how.noise == pytest.approx(0.008, abs=0.002)
    for model in models[1:]:
        generator, how = engine.load(model)
        assert generator is first
        assert (how.path, how.load, how.why) == ("reloaded", None, None)
        assert how.found.to_new <= how.found.bound
        assert how.reload >= 0
        assert how.proof >= 0
        assert answers(generator) == answers(Bigram(model, Options()))
    assert lines == []


@pytest.mark.parametrize("left", ["none", "body"])
def test_weights_left_behind_cost_a_restart(models, lines, left):
    """A reload that replaced nothing, or all but the head, is found out; the new engine holds the new weights."""
    engine = warm(models, lines, reload=left)
    first, _ = engine.load(models[0])
    second, how = engine.load(models[1])
    assert first.closed
    assert how.path == "restarted"
    assert how.found.flaw == how.why
    assert None not in (how.load, how.reload, how.proof)
    assert how.noise == pytest.approx(0, abs=1e-6)
    assert lines == [f"the engine restarts for first: {how.why}"]
    assert answers(second) == answers(Bigram(models[1], Options()))


def test_a_refused_reload_costs_a_restart(models, lines):
    """The engine's own words are handed on."""
    engine = warm(models, lines, reload="refused")
    engine.load(models[0])
    generator, how = engine.load(models[1])
    assert (how.path, how.why, how.proof is None) == ("restarted", "the prefix cache is in use", False)
    assert lines == ["the engine restarts for first: the prefix cache is in use"]
    assert answers(generator) == answers(Bigram(models[1], Options()))


@pytest.mark.parametrize(("known", "told"), [([0], "first"), ([1], "base"), ([], "first")])
def test_without_both_references_nothing_is_reloaded(models, lines, known, told):
    """What cannot be proved is not tried."""
    engine = warm(models, lines, known=[models[i] for i in known])
    engine.load(models[0])
    _, how = engine.load(models[1])
    assert (how.path, how.reload, how.why) == ("restarted", None, f"there is no reference for {told}")


def test_models_that_no_proof_could_tell_apart_are_loaded(models, lines, tmp_path):
    """A candidate that hardly moved is not worth a reload."""
    near = build(tmp_path / "near", 1, step=1e-5)
    engine = warm([*models, near], lines)
    engine.load(models[0])
    _, how = engine.load(near)
    assert (how.path, how.reload) == ("restarted", None)
    assert "too near" in how.why


def test_another_shape_or_tokenizer_is_loaded(models, lines, tmp_path):
    """Configuration, tensors and all that the engine keeps of a tokenizer must be the same."""
    wide = build(tmp_path / "wide", 1, width=9)
    odd = build(tmp_path / "odd", 2)
    save_file(load_file(odd.folder / "model.safetensors") | {"bias": np.zeros(2)}, odd.folder / "model.safetensors")
    (models[2].folder / "tokenizer.json").write_text('{"other": 1}')
    (models[1].folder / "generation_config.json").write_text("{}")
    reasons = []
    for other in (wide, odd, models[2], models[1]):
        engine = warm([*models, wide], lines, known=[models[0]])
        engine.load(models[0])
        reasons.append(engine.load(other)[1].why)
    assert reasons == [
        "config.json of base and wide differ",
        "1 tensors of base and odd differ in name or shape",
        "tokenizer.json of base and second differ",
        "generation_config.json of base and first differ",
    ]


def test_the_same_weights_stay_where_they_are(models, lines):
    """A last checkpoint that equals the final weights costs nothing, until the engine is closed."""
    engine = warm(models, lines)
    first, _ = engine.load(models[0])
    again, how = engine.load(replace(models[0], name="again"))
    assert again is first
    assert (how.load, how.reload, how.proof, how.found) == (None, None, None, None)
    engine.close()
    engine.close()
    assert first.closed
    assert engine.load(models[0])[1].path == "loaded"


def test_models_of_unknown_digest_are_not_taken_for_the_same(models, lines):
    """Two unknown digests are equal, and say nothing about the weights."""
    engine = warm(models, lines)
    unknown = [replace(model, weights_sha256=None) for model in models]
    engine.load(unknown[0])
    generator, how = engine.load(unknown[1])
    assert (how.path, how.why) == ("restarted", "there is no reference for first")
    assert answers(generator) == answers(Bigram(models[1], Options()))


def test_an_engine_that_cannot_reload_is_loaded_for_every_model(models, lines):
    """Its generators are closed one after the other, and there is nothing to tell the user."""
    engine = pool_of(ResolvedEngine("scripted", scripted, scripted.Options()), lines)
    paths = [engine.load(model)[1] for model in models]
    assert [(how.path, how.reload, how.proof, how.why) for how in paths] == [("loaded", None, None, None)] * 3
    assert lines == []


class OwnProcess:
    """Stands for the process of the references or those of the engine, and keeps what it was asked."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name, self.arguments = name, arguments
        self.asked: list[list[Path]] = []
        self.state = "made"

    def __enter__(self) -> "OwnProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Start the engine's; those of an engine that is called broken do not start."""
        if self.arguments[0] == "broken":
            raise BenchError("its libraries are missing", "install them")
        self.state = "begun"

    def load(self, model: Model, options: Options) -> Bigram:
        """Load in the engine's."""
        return Bigram(model, options)

    def ask(self, request: tuple[list[Path], Sequence[Sequence[int]], str]) -> list[ReferenceLogprobs]:
        """Measure references."""
        folders, sequences, _ = request
        self.asked.append(folders)
        models = [Model(folder.name, "folder", None, folder, None, None) for folder in folders]
        return [ReferenceLogprobs.of(*Bigram(model, Options()).prompt_logprobs(sequences)) for model in models]

    def close(self) -> None:
        """End it."""
        self.state = "closed"


@pytest.fixture
def processes(monkeypatch) -> list[OwnProcess]:
    """All that a pool starts, in order: of references, and of engines."""
    started: list[OwnProcess] = []
    for module, name in ((child_process, "ChildProcess"), (engine_pool, "MultiGpuStarter")):
        monkeypatch.setattr(
            module, name, lambda *given, name=name: started.append(OwnProcess(name, *given)) or started[-1]
        )
    monkeypatch.setattr(engine_pool, "build_probe_sequences", lambda *_: SEQUENCES)
    return started


def plan_of(model: Model, tokenizer: str = "one", questions: int = 2) -> SimpleNamespace:
    """Questions to a model whose tokenizer has this digest."""
    prepared = SimpleNamespace(requests=ASKED[:questions])
    return SimpleNamespace(
        model=model, prepared_task=prepared, model_tokenizer=SimpleNamespace(tokenizer_sha256=tokenizer)
    )


def engine_of(*, apart: bool = False, reloads: bool = True, devices: tuple[str | None, ...] = (None,)):
    """The engine of this file, as one that reloads or runs in processes of its own."""
    return ResolvedEngine("bigram", SimpleNamespace(load=load, APART=apart, RELOADS=reloads), Options(), devices)


def names(processes: list[OwnProcess]) -> list[str]:
    """What each process is."""
    return [process.name for process in processes]


def test_references_are_measured_once_for_the_models_of_one_tokenizer(models, lines, processes):
    """Before the engine starts, and in one process that ends; a model of another tokenizer restarts the engine."""
    pool = pool_of(engine_of(), lines)
    unknown = replace(models[2], weights_sha256=None)
    plans = [plan_of(models[0]), plan_of(models[1]), plan_of(unknown), plan_of(models[2], "other")]
    pool.expect(plans)
    assert [pool.generator(plan)[1].path for plan in plans] == ["loaded", "reloaded", "restarted", "restarted"]
    [process] = processes
    assert (process.asked, process.state) == ([[models[0].folder, models[1].folder]], "closed")
    assert lines[:3] == [
        "measuring reference log-probabilities of 2 models, to verify reloads",
        "engine bigram: loading base",
        "engine bigram: loading first",
    ]
    assert not [line for line in lines[3:] if line.startswith("measuring")]


@pytest.mark.parametrize(("number", "reloads", "measured"), [(1, True, 0), (2, False, 0), (2, True, 1)])
def test_references_are_measured_only_for_a_reload(models, lines, processes, number, reloads, measured):
    """One model needs none, nor does an engine that cannot reload; a plan nobody announced is a model alone."""
    pool = pool_of(engine_of(reloads=reloads), lines)
    if number > 1:
        pool.expect([plan_of(model) for model in models[:number]])
    pool.generator(plan_of(models[0]))
    assert names(processes) == ["ChildProcess"] * measured


@pytest.mark.parametrize(
    ("early", "engine", "started"),
    [
        (0, engine_of(apart=True), []),
        (1, engine_of(apart=True), ["MultiGpuStarter"]),
        (2, engine_of(apart=True), ["MultiGpuStarter", "ChildProcess"]),
        (2, engine_of(apart=True, reloads=False), ["MultiGpuStarter"]),
        (2, engine_of(), []),
        (2, engine_of(devices=("0", "1")), ["MultiGpuStarter", "ChildProcess"]),
    ],
)
def test_processes_start_with_the_context_for_models_that_are_prepared(
    models, lines, processes, early, engine, started
):
    """The engine's own, and that of the references for a second model, which is used then; all end with the context."""
    console = SimpleNamespace(say=lines.append, warn=lines.append)
    with early_processes(), EnginePool(engine, console, early=early) as pool:
        assert names(processes) == started
        assert {process.state for process in processes if process.name == "MultiGpuStarter"} <= {"begun"}
        pool.expect([plan_of(model) for model in models])
        generator, _ = pool.generator(plan_of(models[0]))
        assert names(processes).count("ChildProcess") == engine.reloads
        assert not generator.closed
    assert generator.closed
    assert {process.state for process in processes} <= {"closed"}


def test_an_engine_s_own_processes_start_before_references_are_measured(models, lines, processes):
    """They load their libraries meanwhile; all are ended where one does not start."""
    pool = pool_of(engine_of(apart=True), lines)
    pool.expect([plan_of(model) for model in models])
    pool.generator(plan_of(models[0]))
    assert names(processes) == ["MultiGpuStarter", "ChildProcess"]
    broken = replace(engine_of(apart=True), name="broken")
    with pytest.raises(BenchError, match="missing"), EnginePool(broken, SimpleNamespace(warn=None), early=1):
        pytest.fail("the context began")
    assert (processes[-1].name, processes[-1].state) == ("MultiGpuStarter", "closed")


@pytest.mark.parametrize(("most", "devices"), [(None, ("0", "1")), (1, None), (3, ("0", "1", "2"))])
def test_no_more_processes_start_than_there_are_questions(models, lines, processes, most, devices):
    """Two requests need two of three GPUs; a limit of its own comes first, and one process is this one."""
    pool = EnginePool(engine_of(devices=("0", "1", "2")), SimpleNamespace(say=lines.append, warn=None), most=most)
    plans = [plan_of(models[0], questions=1), plan_of(models[1])]
    pool.expect(plans)
    for plan in plans:
        pool.generator(plan)
    starters = [process for process in processes if process.name == "MultiGpuStarter"]
    assert [process.arguments[1] for process in starters] == ([] if devices is None else [devices])


def test_an_engine_that_is_only_loaded_starts_its_processes_too(models, lines, processes):
    """A row is reproduced by loading its model; nobody announced questions."""
    pool_of(engine_of(apart=True), lines).load(models[0])
    assert [process.state for process in processes] == ["begun"]


def test_seconds_are_of_each_part_and_failed_attempts_count(models, lines, monkeypatch):
    """On a clock that ticks whenever somebody looks; a probe after a restart adds to the one before."""
    monkeypatch.setattr(engine_pool, "perf_counter", count().__next__)
    whole, partial = warm(models, lines), warm(models, lines, reload="body")
    for engine, seconds in ((whole, (None, 1, 1)), (partial, (1, 1, 2))):
        first, second = engine.load(models[0])[1], engine.load(models[1])[1]
        assert (first.load, first.reload, first.proof) == (1, None, 1)
        assert (second.load, second.reload, second.proof) == seconds
    refused = warm(models, lines, reload="refused")
    refused.load(models[0])
    how = refused.load(models[1])[1]
    assert (how.load, how.reload, how.proof) == (1, 1, 1)


def test_references_that_come_late_prove_nothing(models, lines):
    """The engine's own noise was not measured at its load."""
    engine = warm(models, lines, known=[])
    engine.load(models[0])
    engine.references = {model.weights_sha256: reference(model) for model in models}
    assert engine.load(models[1])[1].path == "restarted"


def test_an_engine_that_broke_while_it_reloaded_is_started_again(models, lines):
    """Nobody knows what it holds."""
    engine = warm(models, lines)
    first, _ = engine.load(models[0])
    first.options = replace(first.options, reload="a bug")
    with pytest.raises(KeyError):
        engine.load(models[1])
    generator, how = engine.load(models[1])
    assert (how.path, how.why, first.closed) == ("loaded", None, True)
    assert answers(generator) == answers(Bigram(models[1], Options()))


class Pair(Bigram):
    """Two engines behind one generator, of which the second may never reload, or measures with more noise."""

    def __init__(self, model: Model, options: Options) -> None:
        super().__init__(model, options)
        self.second = Bigram(model, replace(options, noise=0.02))

    def reload(self, model: Model) -> None:
        """Reload the first, and the second where all are."""
        super().reload(model)
        if self.options.noise:
            self.second.reload(model)

    def prompt_logprobs_of_each(self, sequences):
        """Of both."""
        return [each.prompt_logprobs(sequences) for each in (self, self.second)]


@pytest.mark.parametrize(("noise", "path"), [(0.0, "restarted"), (0.01, "reloaded")])
def test_of_several_engines_the_worst_counts(models, lines, noise, path):
    """One that kept its weights is a restart of all; the noise is that of the noisiest, and of a NaN nothing."""
    engine = warm(models, lines, noise=noise)
    engine._engine = replace(engine._engine, module=SimpleNamespace(load=Pair))
    _, how = engine.load(models[0])
    assert how.noise == pytest.approx(0.016, abs=0.004)
    _, how = engine.load(models[1])
    assert (how.path, how.found.flaw is None) == (path, path == "reloaded")
    assert how.found.to_new > 0.01
    assert np.isnan(engine_pool._find_largest([0.5, float("nan"), 1.0]))


def test_a_tokenizer_is_compared_by_its_bytes(models, lines):
    """Not by its size and time, which a copy may share."""
    for model, text in zip(models, ('{"a": 1}', '{"a": 2}'), strict=False):
        (model.folder / "tokenizer.json").write_text(text)
        os.utime(model.folder / "tokenizer.json", (0, 0))
    engine = warm(models, lines)
    engine.load(models[0])
    assert engine.load(models[1])[1].why == "tokenizer.json of base and first differ"
