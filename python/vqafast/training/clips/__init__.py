"""Training of networks that score clips, end to end.

`system` says what a family must bring and has the table of families; `vqafast.training.runs.run` trains them.
"""
