"""KVQ (Qu et al., CVPR 2025; paper 002): quality by region, weighted by what draws the eye."""
