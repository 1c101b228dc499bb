"""VSFA (Li, Jiang, Jiang, ACM MM 2019) and MDTVSFA (the same authors, IJCV 2021): the papers' baselines."""
