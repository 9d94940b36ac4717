"""Tasks: what is asked and how answers are judged. Each module is one task and has the task's name.

Your own tasks import the two readers from here; everything else in this package is a task or is private.
"""

from baseline_bench.tasks._answers import READER as FINAL_NUMBER
from baseline_bench.tasks._answers import grade as grade_final_number
from baseline_bench.tasks._choices import SAMPLING as NOTHING_GENERATED
from baseline_bench.tasks._choices import build_grade as build_choice_grade
from baseline_bench.tasks._choices import build_reader_name as name_choice_reader

__all__ = ["FINAL_NUMBER", "NOTHING_GENERATED", "build_choice_grade", "grade_final_number", "name_choice_reader"]
