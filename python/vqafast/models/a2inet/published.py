"""Figures printed in tables 2 to 7 of paper 001 (A2INet, section 4): medians over ten splits.

Data sets have the names of `vqafast.training.datasets`; ``lsvq->x`` is trained on LSVQ's training
set and tested on x.
"""

from __future__ import annotations

Figures = dict[str, dict[str, float]]

_FIVE = ("live_qualcomm", "cvd2014", "live_vqc", "youtube_ugc", "konvid1k")
_THREE = ("live_qualcomm", "live_vqc", "konvid1k")
_LSVQ = ("lsvq_test", "lsvq_1080p", "lsvq->konvid1k", "lsvq->live_vqc")


def _pairs(sets: tuple[str, ...], *values: float) -> Figures:
    """From the tables' order: PLCC, SRCC for each data set."""
    pairs = zip(values[::2], values[1::2], strict=True)
    return {name: {"plcc": p, "srcc": s} for name, (p, s) in zip(sets, pairs, strict=True)}


TABLE_2: dict[str, Figures] = {
    "pr-ss": _pairs(_FIVE, 0.8785, 0.8573, 0.9182, 0.9059, 0.8493, 0.8184, 0.8472, 0.8536, 0.8657, 0.8669),
    "fr-ss": _pairs(_FIVE, 0.8764, 0.8676, 0.9183, 0.9056, 0.8484, 0.8195, 0.8530, 0.8531, 0.8668, 0.8695),
    "pr-sm": _pairs(_FIVE, 0.8860, 0.8656, 0.9128, 0.9042, 0.8894, 0.8869, 0.8408, 0.8478, 0.8785, 0.8850),
    "fr-sm": _pairs(_FIVE, 0.8865, 0.8741, 0.9144, 0.9126, 0.8952, 0.8951, 0.8518, 0.8569, 0.8812, 0.8875),
}
TABLE_3: dict[str, Figures] = {
    "pr-ss": _pairs(_LSVQ, 0.8564, 0.8561, 0.7849, 0.7420, 0.8446, 0.8375, 0.8068, 0.7574),
    "fr-ss": _pairs(_LSVQ, 0.8539, 0.8542, 0.7799, 0.7331, 0.8341, 0.8329, 0.7896, 0.7509),
    "pr-sm": _pairs(_LSVQ, 0.8805, 0.8789, 0.8063, 0.7741, 0.8598, 0.8640, 0.8391, 0.8082),
    "fr-sm": _pairs(_LSVQ, 0.8779, 0.8780, 0.8182, 0.7851, 0.8640, 0.8673, 0.8154, 0.8165),
}
TABLE_4: dict[str, Figures] = {
    "sq": _pairs(_THREE, 0.8179, 0.7764, 0.8040, 0.7599, 0.8224, 0.8261),
    "ss": _pairs(_THREE, 0.8099, 0.7697, 0.7918, 0.7317, 0.8156, 0.8049),
    "ms": _pairs(_THREE, 0.6590, 0.6159, 0.7814, 0.7372, 0.7109, 0.6993),
    "sq-ss": _pairs(_THREE, 0.8193, 0.8031, 0.8124, 0.7750, 0.8390, 0.8435),
    "sq-ms": _pairs(_THREE, 0.8207, 0.7986, 0.8546, 0.8526, 0.8465, 0.8499),
    "ss-ms": _pairs(_THREE, 0.8047, 0.7728, 0.8448, 0.8396, 0.8287, 0.8278),
}

# Table 5 prints one figure a data set without its name; Concat's are table 4's SRCC.
_COLUMNS = ("cnn-cnn", "cnn-vit", "cnn-fast", "cnn-swin", "vit-cnn", "vit-vit", "vit-fast", "vit-swin")
_TABLE_5 = {
    "concat": (
        (0.7750, 0.7879, 0.8526, 0.7920, 0.7824, 0.7714, 0.8438, 0.7868),
        (0.8435, 0.8290, 0.8499, 0.8334, 0.8405, 0.8114, 0.8486, 0.8179),
    ),
    "mlp": (
        (0.7810, 0.8061, 0.8698, 0.8087, 0.7907, 0.7823, 0.8536, 0.7871),
        (0.8411, 0.8362, 0.8694, 0.8340, 0.8445, 0.8331, 0.8582, 0.8190),
    ),
    "cagi": (
        (0.8159, 0.8423, 0.8840, 0.8377, 0.8264, 0.8276, 0.8826, 0.8302),
        (0.8665, 0.8697, 0.8751, 0.8645, 0.8584, 0.8574, 0.8597, 0.8548),
    ),
}
TABLE_5: dict[str, Figures] = {
    f"{column}-{module}": {"live_vqc": {"srcc": vqc[i]}, "konvid1k": {"srcc": konvid[i]}}
    for module, (vqc, konvid) in _TABLE_5.items()
    for i, column in enumerate(_COLUMNS)
}

# SRCC only: (S+S), (S+M) for each data set.
_TABLE_6 = {
    "adain-s-to-q": (0.8513, 0.7915, 0.7824, 0.8774, 0.8514, 0.8658),
    "adain-q-to-s": (0.8442, 0.8508, 0.7642, 0.8727, 0.8537, 0.8715),
    "fgin-s-to-q": (0.8485, 0.8611, 0.7914, 0.8820, 0.8583, 0.8750),
    "fgin-q-to-s": (0.8398, 0.8658, 0.7897, 0.8794, 0.8587, 0.8776),
    "cgin": (0.8676, 0.8741, 0.8195, 0.8951, 0.8695, 0.8875),
}
TABLE_6: dict[str, Figures] = {
    f"{kind}-{row}": {name: {"srcc": s} for name, s in zip(_THREE, values[i::2], strict=True)}
    for row, values in _TABLE_6.items()
    for i, kind in enumerate(("ss", "sm"))
}

TABLE_7: dict[str, Figures] = {
    "baseline": _pairs(_THREE, 0.8007, 0.7671, 0.7889, 0.7255, 0.7951, 0.7943),
    "ss-fe": _pairs(_THREE, 0.8193, 0.8031, 0.8124, 0.7750, 0.8390, 0.8435),
    "ss-fe-gi": _pairs(_THREE, 0.8657, 0.8587, 0.8390, 0.8159, 0.8628, 0.8665),
    "ss-fe-gi-tm": _pairs(_THREE, 0.8764, 0.8676, 0.8484, 0.8195, 0.8668, 0.8695),
    "sm-fe": _pairs(_THREE, 0.8207, 0.7986, 0.8546, 0.8526, 0.8465, 0.8499),
    "sm-fe-gi": _pairs(_THREE, 0.8785, 0.8653, 0.8905, 0.8840, 0.8711, 0.8751),
    "sm-fe-gi-tm": _pairs(_THREE, 0.8865, 0.8741, 0.8952, 0.8951, 0.8812, 0.8875),
}
