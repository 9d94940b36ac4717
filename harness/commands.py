"""Every word of the command line: what it is for, which story it calls, and what it takes."""

from collections.abc import Callable
from dataclasses import dataclass

from baseline_bench.arguments import boards, exports, scoring, training
from baseline_bench.arguments.shared import Parser


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
        ".bench:baseline:Order",
        scoring.baseline,
    ),
    Command(
        "train-and-score",
        "train candidates, score them and their base, and say whether it helped",
        ".bench:train_and_score:Study",
        training.study,
    ),
    Command(
        "score",
        "score training runs, adapters and folders of weights",
        ".bench:score:Score",
        scoring.score,
    ),
    Command("show", "read what a model wrote", ".stories.reading:show:Show", scoring.show),
    Command(
        "board",
        "render the leaderboard's pages, or check them",
        ".stories.boards:board:Board",
        boards.board,
    ),
    Command(
        "compare",
        "hold one row against another: better, worse, or not resolved",
        ".stories.comparing:compare:Compare",
        boards.compare,
    ),
    Command(
        "diff",
        "read both answers to the questions on which two rows differ",
        ".stories.comparing:diff:Diff",
        boards.diff,
    ),
    Command("plan", "how many items or seeds would resolve a gain", ".stories.planning:plan:Plan", boards.plan),
    Command(
        "noise",
        "score a model several times, and say which differences mean nothing",
        ".stories.repeating:noise:Noise",
        scoring.noise,
    ),
    Command(
        "pr-report",
        "tell a pull request's new rows in one comment",
        ".stories.pull_request:pr_report:Order",
        boards.pr_report,
    ),
    Command(
        "report",
        "make a study's deck, and a page to read every answer on",
        ".stories.reporting:report:Report",
        boards.report,
    ),
    Command(
        "verify",
        "check an entry again, up to generating its answers anew",
        ".stories.verifying:verify:Verify",
        scoring.verify,
    ),
    Command("export", "hand rows on: lm-eval's files, the hub's metadata, CSV", exports.BY_ITS_KIND, exports.export),
    Command("import", "bring in a result of another harness, unverified", exports.BY_ITS_KIND, exports.bring_in),
    Command("retract", "withdraw an entry, and say why", ".stories.retracting:retract:Retract", boards.retract),
    Command("check", "look at a recipe before any GPU minute", ".training.check:check:Check", training.check),
    Command("train", "train a candidate, and no more", ".bench:train:Training", training.train),
    Command(
        "sweep",
        "choose hyper-parameters by held-out train data",
        ".training.sweep:sweep:Sweep",
        training.sweep,
    ),
    Command("merge", "make whole weights of an adapter, proved", ".bench:merge:Merge", training.merge),
    Command(
        "quickstart",
        "baseline, fine-tune, verdict: a small real model, here, in minutes",
        ".bench:quickstart:Study",
        scoring.quickstart,
    ),
    Command("init", "write what a repository of your own needs", ".stories.scaffolding:init:Init", boards.init),
    Command("doctor", "what would make a model score wrongly", ".stories.doctor:doctor:Doctor", scoring.doctor),
    Command(
        "regrade",
        "judge a run's answers again, without its model",
        ".bench:regrade:Regrade",
        scoring.regrade,
    ),
    Command("grade", "judge completions by the reader alone", ".stories.reading:grade:Grade", scoring.grade),
    Command(
        "list",
        "the models, tasks, engines, trainers and recipes there are",
        ".stories.listing:listing:Listing",
        scoring.listing,
    ),
)
