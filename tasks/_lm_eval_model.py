"""Expose an engine of bench as an lm-eval model: requests become token ids by bench's rules, answers go back.

docs/lm-eval.md says where the ids differ from those of lm-eval's own `hf` model.
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

# For a model whose configuration states no limit, as in lm-eval.
_DEFAULT_CONTEXT = 2048
# Answers requests, in their order.
Responder = Callable[[Sequence[Request]], Sequence[Completion]]


class EngineLM(TemplateLM):  # type: ignore[misc]
    """An lm-eval model whose requests `ask` answers: an engine, or a function that only records them.

    Prompts begin with BOS by the family's rule and a conversation is rendered by the model's own template, as
    everywhere in bench. A text after its context is encoded by lm-eval's rule (both together, minus the context's
    ids), and an empty context is the same token as in lm-eval's `hf` model.

    Args:
        ask: answers requests; for each one with a `start` it returns one likelihood.
    """

    def __init__(self, model_tokenizer: ModelTokenizer, ask: Responder) -> None:
        super().__init__()
        self.tokenizer = model_tokenizer.tokenizer
        self._speech = model_tokenizer
        self._ask = ask
        # Several choices share one context.
        self._encoded = lru_cache(maxsize=8)(
            lambda text: encode_with_bos(model_tokenizer.tokenizer, model_tokenizer.prompt_format, text)
        )

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        eos = self._speech.tokenizer.eos_token_id
        return self._speech.prompt_format.end_id if eos is None else eos

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context."""
        bos = self._speech.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """A name that identifies the tokenizer, as lm-eval requires."""
        return self._speech.tokenizer_sha256

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
        """Encode a whole prompt, or a text alone if no special tokens are wanted."""
        if add_special_tokens is False:
            return self._speech.tokenizer.encode(string, add_special_tokens=False)
        return list(self._encoded(string))

    def apply_chat_template(self, chat_history: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:  # noqa: ARG002 - lm-eval's signature
        """Render the conversation by the model's template; an assistant's last turn is continued."""
        turns = [Message(turn["role"], turn["content"]) for turn in chat_history]  # type: ignore[arg-type]
        return render_prompt(self._speech.tokenizer, turns)

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Return (log-likelihood in nats, is greedy) of each continuation; BenchError if one is empty."""
        for request in requests:
            if not request.args[1].strip():
                what = f"{request.task_name} has an empty choice in document {request.doc_id}"
                raise BenchError(what, "correct the data")
        likelihoods: list[tuple[float, bool]] = super().loglikelihood(list(requests), disable_tqdm=disable_tqdm)
        return likelihoods

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: object) -> list[tuple[float, bool]]:
        engine_requests = []
        for index, (words, context, text) in enumerate(requests):
            if not context or not text:
                raise BenchError(f"there is no token to measure in {words!r:.120}", "correct the data set")
            engine_requests.append(Request(str(index), (*context, *text), start=len(context)))
        answers = [answer.likelihoods[0] for answer in self._ask(engine_requests)]
        return [(answer.single, answer.greedy) for answer in answers]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[float]:  # noqa: ARG002
        """Return the log-likelihood of each whole text, in windows if it exceeds the model's context.

        The text's own ids have no BOS, which is the first window's context. A window leaves room for the token that
        vLLM always generates.
        """
        window_length = (self._speech.context or _DEFAULT_CONTEXT) - 2
        sums = []
        for request in requests:
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            windows = map(make_disjoint_window, get_rolling_token_windows(ids, self.prefix_token_id, window_length, 1))
            likelihoods = self._loglikelihood_tokens([(request.args, *window) for window in windows])
            sums.append(sum(logprob for logprob, _ in likelihoods))
        return sums

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """Return the text generated after each context; stops and limits are those of the task's `Sampling`."""
        engine_requests = [
            Request(str(index), tuple(self.tok_encode(request.args[0]))) for index, request in enumerate(requests)
        ]
        return [answer.text for answer in self._ask(engine_requests)]
