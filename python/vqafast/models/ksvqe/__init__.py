"""KSVQE (Lu et al., CVPR 2024): video Swin on fragments, guided by CLIP and by CONTRIQUE.

`config` has the numbers, `regions` chooses fragments, `modulation` lets both guides change features,
`semantics` is CLIP with adapters, `contrique` the distortion extractor, `network` the whole.
"""
