"""Which check finds each code, and the codes that no case of the corpus shows."""

from corpus.cases import Check, finds

_TENSORS = finds("models.tensor_check:check_tensors")
_TURNS = finds("models.template_checks:_check_turns_present")
_ANSWER_START = finds("models.template_checks:_check_answer_start")
_ROWS = finds("models.diagnose:check_trained_tokens")
_BOS = finds("models.template_checks:_check_bos")
_TOKENIZERS = finds("models.diagnose:compare_tokenizers")
_DEGENERATE = finds("results.answers:_find_degenerate_answers")
BY_CODE: dict[str, Check] = {
    "weights-unused": _TENSORS,
    "weights-missing": _TENSORS,
    "weights-quantised": _TENSORS,
    "tensors-unchecked": _TENSORS,
    "weights-not-finite": finds("models.diagnose:_is_finite", True),
    "head-dropped": finds("models.diagnose:_check_head"),
    "embedding-merged": finds("models.weight_checks:check_tied_embedding"),
    "adapter-incomplete": finds("models.diagnose:_check_pairs"),
    "adapter-unused": finds("models.diagnose:_check_pairs"),
    "adapter-revision": finds("models.diagnose:_check_base_revision"),
    "template-bos-doubled": _BOS,
    "template-unread": finds("models.template_checks:_check_processor_template"),
    "template-no-generation-prompt": _ANSWER_START,
    "template-not-prefix": _ANSWER_START,
    "template-drops-turn": _TURNS,
    "template-missing": finds("models.template_checks:_check_style"),
    "template-not-base": _TOKENIZERS,
    "tokenizer-not-base": _TOKENIZERS,
    "prompt-trailing-space": _TURNS,
    "end-of-turn-not-token": finds("models.template_checks:_check_end_of_turn"),
    "end-token-untrained": _ROWS,
    "prompt-token-untrained": _ROWS,
    "config-not-base": finds("models.identity:list_config_differences"),
    "shots-leak": finds("evaluation.evaluate:check_shots"),
    "unusable": finds("models.adapter:_require_trained"),
    "not-of-base": finds("models.weight_checks:check_full_weights"),
    "other-base": finds("training.resolve_candidate:describe_base_mismatch", None),
    "answers-endless": finds("commands.doctor:_check_answers"),
    "answers-special-tokens": finds("commands.doctor:_find_strange_answers"),
    "answers-empty": _DEGENERATE,
    "answers-constant": _DEGENERATE,
    "answers-cut": Check("results.answers:MAX_CUT_SHARE", 1.0),
}
# Codes that no input shows: what does, and where that is tested.
WITHOUT_CASE = {
    "bos-missing": "a BOS rule that models.toml declares for a model of its own: test_template_checks.py",
    "bos-declared": "as bos-missing: test_template_checks.py",
    "answers-scripted": "the engine, whatever the model is: test_advisories.py",
}
