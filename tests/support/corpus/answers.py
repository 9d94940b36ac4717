"""Answers of whole runs that say nothing, and sound ones that look much like them: texts, and the code or None."""

# (cut answers, all answers, the code or None)
CUT: tuple[tuple[int, int, str | None], ...] = (
    (1, 9, "answers-cut"),
    (11, 100, "answers-cut"),
    (3, 3, "answers-cut"),
    (1, 10, None),
    (10, 100, None),
    (0, 3, None),
)
CASES: tuple[tuple[list[str], str | None], ...] = (
    ([""] * 4, "answers-empty"),
    (["", " ", "\n", ""], "answers-empty"),
    (["!" * 400] * 6, "answers-constant"),  # vLLM writes token 0 for NaN
    (["!" * n for n in (40, 64, 64, 17)], "answers-constant"),
    (["the " * 30, "a b " * 40, "", "1, " * 20], "answers-constant"),
    (["I cannot answer that question."] * 4, "answers-constant"),
    (["A"] * 16, "answers-constant"),
    ([""] * 3, "answers-empty"),
    (["I cannot answer that question."] * 3, None),
    (["A"] * 6, None),
    (["The answer is 3.", "The answer is 4.", "The answer is 3.", "The answer is 3."], None),
    (["", "", "", "#### 5"], None),
    (["!" * 64, "!" * 64, "!" * 64, "It is 12."], None),
    (["3, 3, 3 makes 9", "9", "11", "12"], None),
)
