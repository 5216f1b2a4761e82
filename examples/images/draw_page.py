"""Draws page.png: codes, colours and shapes, which the bundled encoder can read. Run it from this folder."""

import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
COLORS = [(220, 40, 40), (40, 80, 220), (40, 160, 70), (130, 60, 180), (20, 20, 20)]
WIDTH, HEIGHT, MARGIN = 900, 1200, 60


def main() -> None:
    """Draw the page, the same each time."""
    dice = random.Random(7)
    page = Image.new("RGB", (WIDTH, HEIGHT), (250, 249, 245))
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 50), "PARTS LIST", font=ImageFont.load_default(58), fill=(20, 20, 20))
    draw.line((MARGIN, 130, WIDTH - MARGIN, 130), fill=(20, 20, 20), width=4)
    for row in range(9):
        for col in range(4):
            code = "".join(dice.choices(ALPHABET, k=dice.choice((3, 4, 6))))
            color = dice.choice(COLORS)
            at = (MARGIN + 200 * col, 165 + 58 * row)
            draw.text(at, code, font=ImageFont.load_default(dice.choice((26, 32, 38))), fill=color)
    base = 1100
    draw.line((MARGIN, base, WIDTH - MARGIN, base), fill=(20, 20, 20), width=4)
    for bar in range(10):
        left, height = MARGIN + 15 + 78 * bar, dice.randrange(60, 330)
        draw.rectangle((left, base - height, left + 48, base - 3), fill=COLORS[bar % len(COLORS)])
        label = "".join(dice.choices(ALPHABET, k=3))
        draw.text((left + 24, base + 16), label, font=ImageFont.load_default(24), fill=(20, 20, 20), anchor="ma")
    page.quantize(64, dither=Image.Dither.NONE).save(Path(__file__).with_name("page.png"), optimize=True)


if __name__ == "__main__":
    main()
