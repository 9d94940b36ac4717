"""Findings: what the checks notice about a model, its prompts or its answers, each under a code that never changes.

Entries and pages store codes; messages may change in later versions. docs/findings.md explains every code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from baseline_bench.core.errors import BenchError, suggest_name

Severity = Literal["refuse", "warn"]

SCRIPTED_CODE = "answers-scripted"
# Code -> (severity, short meaning).
CODES: Mapping[str, tuple[Severity, str]] = {
    "weights-unused": ("refuse", "the files hold tensors that the configuration does not use"),
    "weights-missing": ("refuse", "tensors or scales are missing, or have another shape than the configuration says"),
    "tensors-unchecked": ("warn", "nobody compared the tensors in the files with those that the network uses"),
    "weights-not-finite": ("refuse", "a tensor holds NaN or infinity"),
    "weights-quantised": ("refuse", "the library that loads this quantised format is not installed"),
    "head-dropped": ("refuse", "a head with numbers of its own is saved, and the configuration ties it away"),
    "embedding-merged": ("warn", "an adapter of a tied head or embedding alone was merged, which changed both"),
    "adapter-incomplete": ("refuse", "the adapter lacks pairs for layers that its configuration selects"),
    "adapter-unused": ("refuse", "the adapter holds pairs for layers that its configuration does not select"),
    "adapter-revision": ("refuse", "the adapter names another revision of its base than the one at hand"),
    "template-bos-doubled": ("refuse", "the prompt begins with two BOS tokens"),
    "template-unread": ("refuse", "chat_template.json holds a template that is not the one in use"),
    "template-no-generation-prompt": ("warn", "the prompt does not open the assistant's turn"),
    "template-not-prefix": ("warn", "a rendered conversation does not begin with its own prompt"),
    "template-drops-turn": ("warn", "the template drops or changes a turn"),
    "template-missing": ("warn", "an instruction-tuned name without a chat template"),
    "template-not-base": ("warn", "the chat template is not the base's"),
    "tokenizer-not-base": ("warn", "the tokenizer has tokens that the base's lacks, or splits text otherwise"),
    "config-not-base": ("warn", "config.json sets otherwise than the base's what changes answers"),
    "shots-leak": ("warn", "worked examples before a question hold the question itself"),
    "prompt-trailing-space": ("warn", "the prompt ends with a space"),
    "bos-missing": ("warn", "the tokenizer adds a BOS to plain text, and the prompts begin without one"),
    "bos-declared": ("warn", "models.toml declares another BOS rule than tokenizer and template follow"),
    "end-of-turn-not-token": ("warn", "what ends a turn in the template is not one token of the tokenizer"),
    "end-token-untrained": ("warn", "the token that ends an answer has an untrained row"),
    "prompt-token-untrained": ("warn", "a token that the template writes has an untrained row"),
    "unusable": ("refuse", "the files are not a model or an adapter that can be loaded"),
    "not-of-base": ("warn", "the weights are not a training of the base that was named"),
    "other-base": ("warn", "the adapter names another base than the one that was given"),
    "answers-endless": ("warn", "no answer ended by itself"),
    "answers-special-tokens": ("warn", "special tokens inside an answer"),
    "answers-empty": ("warn", "every answer is empty; in doctor, one of the few that it asks for"),
    SCRIPTED_CODE: ("warn", "the answers are from a script, and not from the model that the row names"),
    "answers-cut": ("warn", "more than 10 % of the answers were cut at the limit of tokens"),
    "answers-constant": ("warn", "every answer is the same, or one repeated token"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check noticed.

    Attributes:
        code: a key of `CODES`.
        severity: "refuse" stops a run before it begins, unless the user accepts the code; "warn" does not.
        message: one sentence for the user: what was found, where, and how to fix it.
    """

    code: str
    severity: Severity
    message: str


def build_finding(code: str, message: str) -> Finding:
    """Build a finding with its code's severity."""
    return Finding(code, CODES[code][0], message)


def build_unchecked(reason: str) -> Finding:
    """Build the finding that tensors were not compared with what the network uses, for this reason."""
    message = f"{CODES['tensors-unchecked'][1]}, since {reason}"
    return build_finding("tensors-unchecked", f"{message}: load it with what trained it and read the warnings")


def require_known_codes(codes: Iterable[str]) -> None:
    """Refuse a code of `--accept` that does not exist or refuses nothing; the BenchError names the nearest one."""
    refusing = [code for code, (severity, _) in CODES.items() if severity == "refuse" and code != "unusable"]
    for code in codes:
        if code not in refusing:
            raise BenchError(f"no finding '{code}' can be accepted", suggest_name(code, refusing, "codes of --accept"))


class RefusedError(BenchError):
    """The error for a model that findings refuse."""

    def __init__(self, name: str, findings: Sequence[Finding], refusals: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        messages = "; ".join(f"[{finding.code}] {finding.message}" for finding in refusals)
        codes = dict.fromkeys(finding.code for finding in refusals)
        accepting = " ".join(f"--accept {code}" for code in codes)
        way_out = None if "unusable" in codes else f"to go on all the same give {accepting}"
        super().__init__(f"{name} is refused: {messages}", way_out)


def raise_refusals(name: str, findings: Sequence[Finding], accepted: Sequence[str]) -> None:
    """Raise RefusedError, which names them, for findings that refuse the model and that the user did not accept."""
    refusals = [finding for finding in findings if finding.severity == "refuse" and finding.code not in accepted]
    if refusals:
        raise RefusedError(name, findings, refusals)
