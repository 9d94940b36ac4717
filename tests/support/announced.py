"""Tells the lines on stderr that announce a phase from those that say what is wrong."""

import re

_ANNOUNCEMENT = re.compile(
    r"(model|base) .+: looking for it, fetching what is missing|engine \S+(, |: loading )|the engine restarts for "
    r"|measuring reference |training .+ rows$|merging |trying |grading |comparing |checking |computing |looking for "
    r"|rendering |withdrawing |importing |verifying |reading |asking [\d,]+ questions$"
    r"|.+ was (finished|trained) before; |.+: ([\d,]+ requests|loading the base, preparing the examples)$"
    r"|bench\.toml names |questions are shown by their ids|solutions are not measured"
)


def unannounced(err: str) -> list[str]:
    """The lines that announce nothing."""
    return [line for line in err.splitlines() if not _ANNOUNCEMENT.match(line)]
