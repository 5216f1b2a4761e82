"""The reading task: pages, signs and charts that are drawn here, and questions that need to see them.

Codes are random, so no language prior helps; type goes down to a few pixels, so resolution and token budget matter.
"""

from opticnerve.data.reading.fonts import FONTS, UNSEEN_FONTS, load_font
from opticnerve.data.reading.questions import KINDS_OF_QUESTION, PLACES, Question, ask_about, words_of_questions
from opticnerve.data.reading.scene import CANVAS_PX, Item, Scene, SceneRecipe, draw_scene, recipe_at
from opticnerve.data.reading.source import ReadingSource
from opticnerve.data.reading.symbols import LABELS, MAX_CODE, NUM_CLASSES, Symbols, item_table, label_cells
from opticnerve.data.reading.words import Split, is_held_out, split_of

__all__ = [
    "CANVAS_PX",
    "FONTS",
    "KINDS_OF_QUESTION",
    "LABELS",
    "MAX_CODE",
    "NUM_CLASSES",
    "PLACES",
    "UNSEEN_FONTS",
    "Item",
    "Question",
    "ReadingSource",
    "Scene",
    "SceneRecipe",
    "Split",
    "Symbols",
    "ask_about",
    "draw_scene",
    "is_held_out",
    "item_table",
    "label_cells",
    "load_font",
    "recipe_at",
    "split_of",
    "words_of_questions",
]
