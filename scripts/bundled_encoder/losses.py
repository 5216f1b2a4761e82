"""What is trained, and against which labels."""

from __future__ import annotations

import torch
from export import add_batch_norm
from labels import Batch
from torch import Tensor, nn
from torch.nn import functional

from opticnerve.encoders.bundled.model import BundledEncoderModel
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS, BundledProbe


class Trainee(nn.Module):
    """The encoder, the probe that ships with it, and the heads that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = BundledEncoderModel()
        add_batch_norm(self.encoder)
        self.probe = BundledProbe(dim=self.encoder.dim)
        cell_dim = self.encoder.embed[0].in_channels
        self.cell_glyphs = nn.Conv2d(cell_dim, 2 * (len(ALPHABET) + 1), 1)
        self.cell_kind = nn.Conv2d(cell_dim, len(KINDS) + 1, 1)
        self.cell_color = nn.Conv2d(cell_dim, len(COLORS) + 1, 1)
        self.box = nn.Linear(self.encoder.dim, 4)

    def cell_losses(self, cells: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Score the stem's features."""
        glyphs = self.cell_glyphs(cells)
        n, _, rows, cols = glyphs.shape
        glyphs = glyphs.reshape(n, 2, -1, rows, cols).permute(0, 2, 3, 4, 1).reshape(n, -1, rows, 2 * cols)
        return {
            "cell_glyphs": classify(glyphs, batch.glyphs, nothing=0.1),
            "cell_kind": 0.3 * classify(self.cell_kind(cells), batch.cell_kind, nothing=0.3),
            "cell_color": 0.3 * classify(self.cell_color(cells), batch.cell_color, nothing=0.3),
        }

    def patch_losses(self, features: Tensor, batch: Batch, *, rows: int) -> dict[str, Tensor]:
        """Score the encoder's output."""
        known = ~batch.boxes.isnan()
        boxes = functional.smooth_l1_loss(self.box(features).float()[known], batch.boxes[known], beta=0.1)
        return {
            "glyphs": classify(self.probe.glyph_map(features, rows=rows), batch.glyphs, nothing=0.1),
            "words": classify(self.probe.words(features).movedim(-1, 1), batch.words, nothing=0.5),
            "kind": 0.3 * classify(self.probe.kind(features).mT, batch.patch_kind, nothing=0.3),
            "color": 0.3 * classify(self.probe.color(features).mT, batch.patch_color, nothing=0.3),
            "box": 1.0 * boxes,
        }


def classify(scores: Tensor, target: Tensor, *, nothing: float) -> Tensor:
    """Compute the cross-entropy over dimension 1 with a smaller weight for class 0."""
    weight = torch.ones(scores.shape[1])
    weight[0] = nothing
    return functional.cross_entropy(scores.float(), target, weight=weight)
