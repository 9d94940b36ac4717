"""Public reports of silently wrong fine-tunes and scores: what bench did when each was first tried, and what shows it.

Tried in December 2026 at 0c9534f; none of them had served before. The other sources are in the cases themselves.
"""

from dataclasses import dataclass
from typing import Literal

Result = Literal["handled", "refused", "fault"]


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        source: owner/repository#number.
        result: of the first trial: a right number or a finding that warns, a clear refusal, or a fault that was
            found: a wrong number or claim without a word, or a traceback.
        shown: "class/case" of this corpus, or "file::test" under tests.
        text: for an answer, what the model wrote.
        gold: and the answer that is right; empty if the text has none.
    """

    source: str
    result: Result
    shown: str
    text: str = ""
    gold: str = ""


_READER = "whole/test_reports.py::test_answers_of_public_reports_are_read"
_RUN_ON = "She has 18.\n#### 18\n\nQuestion: Tom has 7. How many?\nAnswer: 7\n#### 7"
REPORTS = (
    # Faults.
    Report("huggingface/transformers#45812", "fault", "models/test_tokenizer.py::test_text_is_split_as_the_file_says"),
    Report("allenai/open-instruct#1896", "fault", "models/test_tokenizer.py::test_text_is_split_as_the_file_says"),
    Report("generative-computing/mellea#947", "fault", "adapters/a tokenizer that lost merges"),
    Report("unslothai/unsloth#7028", "fault", "trainings/another angle of positions"),
    Report("ooples/AiDotNet#2074", "fault", "trainings/rows in another order"),
    Report("huggingface/transformers#45079", "fault", "trainings/an embedding drawn anew"),
    Report("kekzl/imp#1450", "fault", "candidates/8 bits without their scales"),
    Report("unslothai/unsloth#6978", "fault", "candidates/8 bits, one kind without its scales"),
    Report("EleutherAI/lm-evaluation-harness#4145", "fault", "shots/of the scored split"),
    Report("unslothai/unsloth#915", "fault", "templates/role-untrained"),
    Report("huggingface/transformers#12763", "fault", "templates/role-beyond-embedding"),
    Report("QwenLM/Qwen3#1064", "fault", "commands/test_check.py::test_an_adapter_cannot_learn_an_untrained_end"),
    Report(
        "meta-pytorch/torchtune#2429", "fault", "commands/test_check.py::test_an_adapter_cannot_learn_an_untrained_end"
    ),
    # Refused in one line that names the cause.
    Report("wuwangzhang1216/abliterix#93", "refused", "candidates/8 bits with scales of another name"),
    Report("unslothai/unsloth#3444", "refused", "models/test_adapter.py::test_another_kind_of_adapter_is_refused"),
    Report("huggingface/peft#3608", "refused", "models/test_adapter.py::test_another_kind_of_adapter_is_refused"),
    Report(
        "vllm-project/vllm#34186", "refused", "models/test_merge.py::test_another_base_is_refused_by_names_and_shapes"
    ),
    Report("LLaVA-VL/LLaVA-NeXT#315", "refused", "candidates/no head"),
    Report("hiyouga/LlamaFactory#10560", "refused", "candidates/a tied head with numbers of its own"),
    Report(
        "huggingface/trl#3927", "refused", "commands/test_check.py::test_rows_that_are_too_long_are_counted_and_named"
    ),
    Report(
        "EleutherAI/lm-evaluation-harness#4089",
        "refused",
        "interop/test_logs.py::test_equal_ids_with_other_questions_are_refused",
    ),
    Report(
        "EleutherAI/lm-evaluation-harness#3115",
        "refused",
        "evaluation/test_evaluate.py::test_prompts_that_leave_too_little_room_are_refused_with_the_longest",
    ),
    # Handled.
    Report("paiml/aprender#2189", "handled", "models/test_adapter.py::test_scales_are_those_of_peft"),
    Report("huggingface/transformers#31788", "handled", "models/test_gguf.py::test_queries_and_keys_keep_their_heads"),
    Report(
        "allenai/open-instruct#75",
        "handled",
        "engines/test_transformers.py::test_batches_of_any_size_write_what_generate_writes_alone",
    ),
    Report(
        "ml-explore/mlx-lm#1855",
        "handled",
        "engines/test_transformers.py::test_log_probabilities_are_those_of_a_plain_forward_pass",
    ),
    Report(
        "huggingface/text-generation-inference#687",
        "handled",
        "engines/test_transformers.py::test_drawn_answers_depend_on_the_seed_and_not_on_the_batch",
    ),
    Report(
        "huggingface/transformers#46634",
        "handled",
        "trainers/test_packing.py::test_the_loss_of_packed_rows_is_that_of_the_rows_alone",
    ),
    Report(
        "huggingface/transformers#35207",
        "handled",
        "trainers/test_sft.py::test_eight_passes_of_one_row_one_of_eight_and_any_between_have_one_gradient",
    ),
    Report("EleutherAI/lm-evaluation-harness#3214", "handled", _READER, "The total cost is $29.00.", "29"),
    Report("jundot/omlx#3484", "handled", _READER, "The total is 72 clips, altogether.", "72"),
    Report("stanford-crfm/helm#4337", "handled", _READER, "The answer is 72, in total, so she earns that much.", "72"),
    Report("google-deepmind/proeval#19", "handled", _READER, "The temperature is now -3.", "-3"),
    Report("sgl-project/sglang#29933", "handled", _READER, _RUN_ON, "18"),
    Report("modelscope/evalscope#906", "handled", _READER, r"\boxed{\text{The answer is 460}}", "460"),
    Report("EleutherAI/lm-evaluation-harness#3382", "handled", _READER, "<think>3+4 = 7, the answer is 7. But"),
)
