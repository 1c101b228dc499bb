"""FAST-VQA (Wu et al., ECCV 2022), FasterVQA and DOVER's technical branch: video Swin on fragments.

`config` needs no torch; `network`, `swin3d` and `head` do. `reference` is the slow definition.
"""
