"""CLIP (Radford et al., ICML 2021), with which KSVQE and CLiF-VQA look at pictures."""
