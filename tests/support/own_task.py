"""A task file of one's own, and an installed package of plug-ins."""

TASK = """
from baseline_bench.core.types import Message, Problem, Sampling, Split, Judgement
LABEL, READER, SAMPLING = "sums-0shot@v1", "exact@v1", Sampling(max_tokens=8)
def problems(split): return [Problem("a", "1+1?", "2", "2")]
def messages(problem): return (Message("user", problem.question),)
def grade(problem, completion): return Judgement(problem.id, completion.text, "all", True, True, "stop")
"""


def package(folder, name, entry_points, module="LABEL = 1\n"):
    """An installed package, as far as importlib.metadata looks."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (folder / f"{name}.py").write_text(module)
