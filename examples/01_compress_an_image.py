"""From a photograph to visual tokens: how many, where they come from, and what they cost.

python examples/01_compress_an_image.py [IMAGE]
"""

import sys
from pathlib import Path

from opticnerve import method
from opticnerve.data import decode_image
from opticnerve.encode import Compressor
from opticnerve.encoders import load_encoder
from opticnerve.views import TiledEncoder, fitting_tiling

LLM_DIM = 2048


def main() -> None:
    """Compress one image by three methods."""
    path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images" / "page.png"
    image = decode_image(path)
    print(f"{Path(path).name}: {image.shape[1]} x {image.shape[2]} px")

    # The bundled encoder is small enough to ship; any transformers vision model works by name or folder.
    encoder = load_encoder("bundled")
    tiled = TiledEncoder(encoder, fitting_tiling("internvl", encoder, {"max_tiles": 6}))

    # The plan is made of integers: everything is known before a single pixel is touched.
    plan = tiled.tiling.plan(image.shape[1], image.shape[2])
    print(f"{plan.num_tiles} tiles, the first shows {plan.image_boxes[0]} (top, left, bottom, right)")

    # The encoder runs once; each connector reads the same features.
    features = tiled.encode(image)
    print(f"{sum(len(batch) for batch in features.batches)} x {features.grids[0]} features, {encoder.dim} wide\n")

    for spec in (method("pixel_shuffle"), method("pool", factor=4), method("qformer")):
        compressor = Compressor.with_random_weights(tiled, spec, llm_dim=LLM_DIM)
        compressed = compressor.connect(features)
        counts = compressed.counts
        print(
            f"{spec.name:14} {counts.num_features} -> {counts.num_tokens:4} tokens ({counts.ratio:4.1f} : 1), "
            f"{compressed.places[0]} in each tile; {counts.connector_flops / 1e9:5.2f} GFLOP beside the "
            f"encoder's {counts.encoder_flops / 1e9:.1f}"
        )
    print(f"\nThe last ones are a tensor of {tuple(compressed.tokens.shape)}; their weights are {compressor.weights}.")


if __name__ == "__main__":
    main()
