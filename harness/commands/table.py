"""Every word of the command line: what it is for, which story it calls, and what it takes."""

from collections.abc import Callable
from dataclasses import dataclass

from baseline_bench.commands.arguments import boards, exports, scoring, training
from baseline_bench.commands.arguments.shared import Parser


@dataclass(frozen=True, slots=True)
class Command:
    """One word of the command line.

    Attributes:
        story: "module:function:Order"; the parsed arguments become the Order's fields.
    """

    name: str
    help: str
    story: str
    arguments: Callable[[Parser], None]


COMMANDS = (
    Command(
        "baseline",
        "score a model and add its row to the leaderboard",
        ".commands.bench:baseline:Order",
        scoring.baseline,
    ),
    Command(
        "train-and-score",
        "train candidates, score them and their base, and say whether it helped",
        ".commands.bench:train_and_score:Study",
        training.study,
    ),
    Command(
        "score",
        "score training runs, adapters and folders of weights",
        ".commands.bench:score:Score",
        scoring.score,
    ),
    Command("show", "read what a model wrote", ".commands.reading:show:Show", scoring.show),
    Command(
        "board",
        "render the leaderboard's pages, or check them",
        ".commands.boards:board:Board",
        boards.board,
    ),
    Command(
        "compare",
        "hold one row against another: better, worse, or not resolved",
        ".commands.comparing:compare:Compare",
        boards.compare,
    ),
    Command(
        "diff",
        "read both answers to the questions on which two rows differ",
        ".commands.comparing:diff:Diff",
        boards.diff,
    ),
    Command("plan", "how many items or seeds would resolve a gain", ".commands.planning:plan:Plan", boards.plan),
    Command(
        "noise",
        "score a model several times, and say which differences mean nothing",
        ".commands.repeating:noise:Noise",
        scoring.noise,
    ),
    Command(
        "pr-report",
        "tell a pull request's new rows in one comment",
        ".commands.pull_request:pr_report:Order",
        boards.pr_report,
    ),
    Command(
        "report",
        "make a study's deck, and a page to read every answer on",
        ".commands.reporting:report:Report",
        boards.report,
    ),
    Command(
        "verify",
        "check an entry again, up to generating its answers anew",
        ".commands.verifying:verify:Verify",
        scoring.verify,
    ),
    Command("export", "hand rows on: lm-eval's files, the hub's metadata, CSV", exports.BY_ITS_KIND, exports.export),
    Command("import", "bring in a result of another harness, unverified", exports.BY_ITS_KIND, exports.bring_in),
    Command("retract", "withdraw an entry, and say why", ".commands.retracting:retract:Retract", boards.retract),
    Command("check", "look at a recipe before any GPU minute", ".commands.check:check:Check", training.check),
    Command("train", "train a candidate, and no more", ".commands.bench:train:Training", training.train),
    Command(
        "sweep",
        "choose hyper-parameters by held-out train data",
        ".commands.sweep:sweep:Sweep",
        training.sweep,
    ),
    Command("merge", "make whole weights of an adapter, proved", ".commands.bench:merge:Merge", training.merge),
    Command(
        "quickstart",
        "baseline, fine-tune, verdict: a small real model, here, in minutes",
        ".commands.bench:quickstart:Study",
        scoring.quickstart,
    ),
    Command("init", "write what a repository of your own needs", ".commands.scaffolding:init:Init", boards.init),
    Command("doctor", "what would make a model score wrongly", ".commands.doctor:doctor:Doctor", scoring.doctor),
    Command(
        "regrade",
        "judge a run's answers again, without its model",
        ".commands.bench:regrade:Regrade",
        scoring.regrade,
    ),
    Command("grade", "judge completions by the reader alone", ".commands.reading:grade:Grade", scoring.grade),
    Command(
        "list",
        "the models, tasks, engines, trainers and recipes there are",
        ".commands.listing:listing:Listing",
        scoring.listing,
    ),
)
