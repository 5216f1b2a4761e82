"""Tokens of text around an image, by published layout: what each family's processor writes into the prompt.

Counted is what is written for every image, whatever the user asks: tokens that open and close an image, name its tiles
or end their rows. Not counted are the chat template, the user's words, and learned vectors (LLaVA-NeXT's
image_newline), which are visual tokens. A layout that is not named writes nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType

from opticnerve.planner.model import Separators

_VISION_START_END = Separators(per_image=2)
"""<|vision_start|> and <|vision_end|>, which stand in Qwen's chat template."""
_TAGGED_TILES = Separators(per_tile=2, per_tile_row=1)
"""<fake_token_around_image> and <row_1_col_1> or <global-img> before each tile. After each row of tiles a line break,
and after the view of the whole image one more <fake_token_around_image>, which is that view's row here. The break
after the last row and the one that opens the view are one token, \\n\\n."""
_ROW_ENDS = Separators(per_token_row=1)
"""[IMG_BREAK] after each row of tokens, [IMG_END] after the last."""

SEPARATORS: Mapping[str, Separators] = MappingProxyType(
    {
        "internvl": Separators(per_image=2),  # <img>, </img>
        "internvl_chat": Separators(per_image=2),
        "qianfan_ocr": Separators(per_image=2),
        "qwen2_vl": _VISION_START_END,
        "qwen2_5_vl": _VISION_START_END,
        "qwen3_vl": _VISION_START_END,
        "qwen3_vl_moe": _VISION_START_END,
        "aya_vision": Separators(per_image=2, per_tile=1),  # start and end of the image; <TILE_1> or <TILE_GLOBAL>
        "gemma3": Separators(per_image=4),  # \n\n, <start_of_image>, <end_of_image>, \n\n
        "shieldgemma2": Separators(per_image=4),
        "idefics3": _TAGGED_TILES,
        "smolvlm": _TAGGED_TILES,
        "mistral3": _ROW_ENDS,
        "pixtral": _ROW_ENDS,
        # <image_id>0</image_id>, <image> and </image>; <slice> and </slice>; line breaks between rows of slices, which
        # are one less than the rows: the view's own row, counted too, makes up for a token of the first five.
        "minicpm_v": Separators(per_image=2, per_tile=2, per_tile_row=1, if_tiled=-1),
        "vila": Separators(per_image=1),  # a line break
    }
)
"""Separators by the name of the layout."""
