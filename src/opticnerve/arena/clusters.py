"""Right answers counted by seed and image, once it is sure that everything was asked of everybody."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opticnerve.arena.answers import AnswerTable
from opticnerve.errors import SpecError, UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clusters:
    """Counts of several cells that were asked the same."""

    right: NDArray[np.float64]
    """Right answers: cells, seeds, images."""
    asked: NDArray[np.float64]
    """Questions about each image, at least one; the same for all cells and seeds."""

    @property
    def share(self) -> NDArray[np.float64]:
        """Share of right answers of each cell, over all seeds, 0 to 1."""
        return self.right.sum((1, 2)) / (self.asked.sum() * self.right.shape[1])


def count(table: AnswerTable, cells: Sequence[str]) -> Clusters:
    """Count right answers by seed and image.

    Args:
        table: answers of these and other cells.
        cells: names, in the order wanted.

    Raises:
        SpecError: there is no answer, or cells or seeds were not asked the same.
        UnknownNameError: a cell is not in the table.
    """
    if not len(table):
        raise SpecError("there are no answers: a score needs at least one question")
    known = table.cells
    for cell in cells:
        if cell not in known:
            raise UnknownNameError("cell", cell, known)
    kept = table.where(np.isin(table.cell, list(cells)))
    images, image = np.unique(kept.image, return_inverse=True)
    asked = _questions(kept, image)
    seeds = _same_seeds(kept, cells)
    right = np.zeros((len(cells), len(seeds), len(images)))
    first = np.zeros(0)
    for row, cell in enumerate(cells):
        for column, seed in enumerate(seeds):
            mine = (kept.cell == cell) & (kept.seed == seed)
            questions = np.bincount(asked[mine], minlength=asked.max() + 1)
            first = first if len(first) else questions
            if (first != questions).any():
                place = int(np.flatnonzero(asked == np.flatnonzero(first != questions)[0])[0])
                raise SpecError(
                    f'cells and seeds must be asked the same: "{cells[0]}" with seed {seeds[0]} and "{cell}" with seed'
                    f' {seed} differ about image "{kept.image[place]}", kind "{kept.kind[place]}". Ask both again, or'
                    " keep only what all were asked."
                )
            right[row, column] = np.bincount(image[mine], weights=kept.is_right[mine], minlength=len(images))
    mine = (kept.cell == cells[0]) & (kept.seed == seeds[0])
    return Clusters(right=right, asked=np.bincount(image[mine], minlength=len(images)).astype(np.float64))


def _questions(table: AnswerTable, image: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the distinct questions: image, kind and glyph height."""
    _, kind = np.unique(table.kind, return_inverse=True)
    _, px = np.unique(table.glyph_px, return_inverse=True)
    _, question = np.unique(np.stack([image, kind, px]), axis=1, return_inverse=True)
    return question.reshape(-1)


def _same_seeds(table: AnswerTable, cells: Sequence[str]) -> list[int]:
    seeds = {cell: sorted(set(table.seed[table.cell == cell].tolist())) for cell in cells}
    for cell, own in seeds.items():
        if own != seeds[cells[0]]:
            raise SpecError(
                f'cells are compared on the same seeds: "{cells[0]}" has {seeds[cells[0]]}, "{cell}" has {own}. Run the'
                " missing ones, or drop them."
            )
    return seeds[cells[0]]
