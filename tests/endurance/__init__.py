"""Long tests, outside of pytest: one command each, with a report in ``benchmarks/results``.

======================================  ===========================================================
``python -m tests.endurance.kills``      a batch of 1,000 files, killed three times
``python -m tests.endurance.mutations``  10,000 damaged files through a batch
``python -m tests.endurance.scores``     10,000 scores in one process: memory
``python -m tests.endurance.disk``       a batch on a full disk (needs root, for a small file system)
======================================  ===========================================================
"""
