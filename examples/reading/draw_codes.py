"""Draws codes.png, a validation page of the reading task. Run it from anywhere."""

from pathlib import Path

from PIL import Image

from opticnerve.data.reading import ReadingSource

NUMBER = 58


def main() -> None:
    """Draw the page, the same each time."""
    scene, _ = ReadingSource(split="validation", num_samples=NUMBER + 1).scene(NUMBER)
    Image.fromarray(scene.pixels).save(Path(__file__).with_name("codes.png"), optimize=True)


if __name__ == "__main__":
    main()
