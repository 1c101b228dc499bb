"""Distorted, VMAF-labelled training clips from any folder of clean clips and photos.

The workflow follows the KVQ dataset paper (Lu et al., CVPR 2024, section 7): an enhancement
or capture-like degradation, a pre-processing step, then transcoding at a QP drawn from six
intervals. Labels come from libvmaf against the clean master.
"""
