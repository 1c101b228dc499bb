"""Subjective studies: raw ratings to mean opinion scores (KSVQE, section 9; ITU-R BT.500-15)."""

from __future__ import annotations

from vqafast.training.subjective.opinion import OpinionScores, Rejected, opinion_scores
from vqafast.training.subjective.ratings import Rating, Ratings, read_ratings
from vqafast.training.subjective.screening import agreement, bt500, disagreeing
from vqafast.training.subjective.subject_model import SubjectModel, fit_subject_model

__all__ = [
    "OpinionScores",
    "Rating",
    "Ratings",
    "Rejected",
    "SubjectModel",
    "agreement",
    "bt500",
    "disagreeing",
    "fit_subject_model",
    "opinion_scores",
    "read_ratings",
]
