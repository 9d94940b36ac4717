"""Turn a plan into completions, judgements and a stored entry; an interrupted run resumes where it stopped.

The public modules are `plan` and `pipeline`; the package renders nothing and knows no command.
"""
