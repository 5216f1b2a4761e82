"""Ask a model about images: one question with its answer as it comes, or many with their scores."""

from opticnerve.evaluate.answer import Answer, answer, unknown_words
from opticnerve.evaluate.asked import Asked, AskedImage, reading_questions, sample_questions
from opticnerve.evaluate.run import Evaluation, Given, evaluate
from opticnerve.evaluate.score import Score, is_right, score

__all__ = [
    "Answer",
    "Asked",
    "AskedImage",
    "Evaluation",
    "Given",
    "Score",
    "answer",
    "evaluate",
    "is_right",
    "reading_questions",
    "sample_questions",
    "score",
    "unknown_words",
]
