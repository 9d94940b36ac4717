"""One of our engines as a model of lm-eval: lm-eval's requests become token ids by our rules, and answers go back.

Where the ids differ from those of lm-eval's own `hf` model is told in docs/lm-eval.md.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Message, Request
from baseline_bench.models.tokens import ModelTokenizer, encode_with_bos, render_prompt
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

# Of a model whose configuration names no limit, as in lm-eval.
_DEFAULT_CONTEXT = 2048
# What answers requests, in their order.
Responder = Callable[[Sequence[Request]], Sequence[Completion]]


class EngineLM(TemplateLM):  # type: ignore[misc]
    """A model of lm-eval whose requests `ask` answers: an engine, or what only writes them down.

    Prompts begin with BOS by the family's rule and a conversation is rendered by the model's own template, as
    everywhere in bench. A text after its context is encoded by lm-eval's rule (both together, then the context's ids
    are taken off), and an empty context is the token that lm-eval's `hf` model takes for one.

    Args:
        speech: of the model.
        ask: takes requests; of those with a `start` it returns one likelihood each.
    """

    def __init__(self, speech: ModelTokenizer, ask: Responder) -> None:
        super().__init__()
        self.tokenizer = speech.tokenizer
        self._speech = speech
        self._ask = ask
        # One context stands before several choices.
        self._encoded = lru_cache(maxsize=8)(lambda text: encode_with_bos(speech.tokenizer, speech.manner, text))

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        eos = self._speech.tokenizer.eos_token_id
        return self._speech.manner.end_id if eos is None else eos

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        bos = self._speech.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """Tells tokenizers apart, as lm-eval wants it."""
        return self._speech.tokenizer_sha256

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
        """The ids of a whole prompt, or of a text alone where no special tokens are wanted."""
        if add_special_tokens is False:
            return self._speech.tokenizer.encode(string, add_special_tokens=False)
        return list(self._encoded(string))

    def apply_chat_template(self, chat_history: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:  # noqa: ARG002 - lm-eval's signature
        """The conversation as the model's template writes it; it goes on where its last turn is the assistant's."""
        turns = [Message(turn["role"], turn["content"]) for turn in chat_history]  # type: ignore[arg-type]
        return render_prompt(self._speech.tokenizer, turns)

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, is greedy) of each continuation after its context.

        Raises:
            BenchError: a continuation is empty.
        """
        for request in requests:
            if not request.args[1].strip():
                raise BenchError(
                    f"{request.task_name} has an empty choice in document {request.doc_id}", "mend the data"
                )
        found: list[tuple[float, bool]] = super().loglikelihood(list(requests), disable_tqdm=disable_tqdm)
        return found

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: object) -> list[tuple[float, bool]]:
        asked = []
        for place, (words, context, text) in enumerate(requests):
            if not context or not text:
                raise BenchError(f"there is no token to measure in {words!r:.120}", "correct the data set")
            asked.append(Request(str(place), (*context, *text), start=len(context)))
        answers = [answer.likelihoods[0] for answer in self._ask(asked)]
        return [(answer.single, answer.greedy) for answer in answers]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[float]:  # noqa: ARG002
        """The log-likelihood of each whole text, in windows where it is longer than the model's context.

        The text's own ids have no BOS, which is the first window's context, and a window leaves room for the token
        that vLLM always generates.
        """
        longest = (self._speech.context or _DEFAULT_CONTEXT) - 2
        sums = []
        for request in requests:
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            windows = map(make_disjoint_window, get_rolling_token_windows(ids, self.prefix_token_id, longest, 1))
            found = self._loglikelihood_tokens([(request.args, *window) for window in windows])
            sums.append(sum(logprob for logprob, _ in found))
        return sums

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """What is written after each context; stops and limits are the task's `Sampling`."""
        asked = [Request(str(n), tuple(self.tok_encode(one.args[0]))) for n, one in enumerate(requests)]
        return [answer.text for answer in self._ask(asked)]
