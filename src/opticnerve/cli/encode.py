"""`opticnerve encode SOURCE`: the images of a data set to visual tokens or features; `opticnerve encode verify`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from opticnerve.cli.exit_codes import INTERRUPTED
from opticnerve.cli.flags import Pairs, ViewFlags

if TYPE_CHECKING:
    from opticnerve.encode.engine import Engine
    from opticnerve.encode.run import Limits
    from opticnerve.encode.settings import EncodeSettings

_FLAT = Parameter(name="*")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFlags:
    """What is kept of each image."""

    model: str = ""
    """A trained model, by folder or name: encoder, tiling, scales and connector are its own. Otherwise they are given
    below, and the connector's weights are random."""
    keep: Literal["tokens", "features"] = "tokens"
    """Visual tokens for an LLM, or the encoder's features, on which connectors are trained."""
    method: str = "pixel_shuffle"
    """Connector; `opticnerve methods` lists them. Its options: --method.KEY VALUE."""
    method_option: Pairs = ()
    """As --method.KEY VALUE."""
    llm_dim: int = 2048
    """Width of the visual tokens."""
    seed: int = 0
    """Of the connector's random weights."""
    dtype: Literal["bf16", "fp16", "fp32", "int8"] = "bf16"
    """Numbers on the disk; int8 has a scale for each row."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """That encoder and connector compute in."""
    device: str = "auto"
    """Where they compute: auto, cpu, cuda or cuda:1."""
    tiles_per_call: int | None = None
    """Tiles that go through the encoder at once: 4 for each core that encodes, 32 on a GPU, unless it is given."""
    max_pixels: int = 89_478_485
    """Larger images are skipped: they may be decompression bombs."""

    def connector(self) -> tuple[object, ...]:
        """Gather what a trained model brings along."""
        return self.method, self.method_option, self.llm_dim, self.seed


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFlags:
    """How the work is done."""

    out: str = "tokens"
    """Folder for shards and manifest. The same command goes on where it was stopped."""
    engine: Literal["local", "ray"] = "local"
    """This machine (or torchrun's processes), or a Ray cluster."""
    address: str = ""
    """Of the Ray cluster; without it one is started on this machine."""
    shard_size: int = 1000
    """Pictures of a shard, which is lost when its process is killed."""
    workers: int | None = None
    """Processes that decode, beside each that encodes; one less than there are cores if not given."""
    max_skipped: str = "10%"
    """Share of pictures that may be skipped before the run stops."""
    keep_duplicates: bool = False
    """Encode identical files each for itself."""
    retry_skipped: bool = False
    """Encode the shards anew in which pictures were skipped."""
    json: bool = False
    """Print JSON instead of words."""

    def limits(self) -> "Limits":
        """Read the flags.

        Raises:
            SpecError: a share cannot be read.
        """
        from opticnerve.encode.run import Limits

        return Limits(
            shard_size=self.shard_size,
            max_skipped=_share(self.max_skipped),
            keep_duplicates=self.keep_duplicates,
            retry_skipped=self.retry_skipped,
            num_workers=self.workers,
        )


_KEPT, _VIEW, _RUN = KeptFlags(), ViewFlags(), RunFlags()


def encode(
    sources: list[str],
    /,
    *,
    kept: Annotated[KeptFlags, _FLAT] = _KEPT,
    view: Annotated[ViewFlags, _FLAT] = _VIEW,
    run: Annotated[RunFlags, _FLAT] = _RUN,
) -> int:
    """Encode the images of a data set to shards of visual tokens or features, and a manifest that says where each is.

    Nothing is lost when it is killed: the same command goes on. On several GPUs:
    torchrun --nproc-per-node 8 -m opticnerve encode SOURCE

    Args:
        sources: Folders, lists of images (.txt, .lst, .jsonl), Parquet files, Hugging Face data sets, tar files.
        kept: What is kept of each image.
        view: How images are seen.
        run: How the work is done.
    """
    from opticnerve.cli.encode_watch import EncodeWatch, print_summary
    from opticnerve.cli.quiet import quietly
    from opticnerve.cli.terminal import complain, is_first_process, say
    from opticnerve.encode.run import encode_pictures
    from opticnerve.errors import SpecError

    if kept.model and (view != _VIEW or kept.connector() != _KEPT.connector()):
        raise SpecError("--model brings encoder, tiling, scales and connector along: leave out their flags")
    settings, limits, engine = _settings(kept, view), run.limits(), _engine(run)
    watch = EncodeWatch(is_shown=is_first_process())
    try:
        with quietly(), watch:
            summary = encode_pictures(sources, run.out, settings, limits=limits, engine=engine, watcher=watch)
    except KeyboardInterrupt:
        complain(f"interrupted: finished shards in {run.out} are kept; the same command goes on from there")
        return INTERRUPTED
    if is_first_process():
        print_summary(summary, out=run.out, as_json=run.json)
        if kept.keep == "tokens" and not kept.model and not run.json:
            say(
                f"The connector's weights are random, seed {kept.seed}: the tokens mean nothing yet. Give --model for "
                f"trained ones, or --keep features to train on."
            )
    return 0


def verify(folder: str, /, *, sample: int = 100, json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """Look a folder of stored images through: counts, checksums, duplicates, and the numbers of a sample.

    Args:
        folder: That `opticnerve encode` wrote.
        sample: Images whose numbers are read.
        json: Print JSON instead of words.
    """
    from dataclasses import asdict

    from opticnerve.cli.encode_watch import print_verified
    from opticnerve.cli.terminal import print_json
    from opticnerve.encode.verify import verify as look_through

    found = look_through(folder, sample=sample)
    if json:
        print_json(asdict(found))
    else:
        print_verified(found, folder=folder)
    return 1 if found.faults else 0


def _settings(kept: KeptFlags, view: ViewFlags) -> "EncodeSettings":
    from opticnerve.cli.options import read_options
    from opticnerve.encode.settings import EncodeSettings

    return EncodeSettings(
        model=kept.model,
        views=view.settings(),
        method=kept.method,
        method_options=read_options(kept.method_option),
        llm_dim=kept.llm_dim,
        seed=kept.seed,
        keep=kept.keep,
        dtype=kept.dtype,
        precision=kept.precision,
        device=kept.device,
        tiles_per_call=kept.tiles_per_call,
        max_pixels=kept.max_pixels,
    )


def _engine(run: RunFlags) -> "Engine":
    from opticnerve.encode.engine import encode_locally
    from opticnerve.errors import SpecError

    if run.engine == "local":
        if run.address:
            raise SpecError("--address is that of a Ray cluster: add --engine ray")
        return encode_locally
    from opticnerve.encode.on_ray import RayEngine

    return RayEngine(address=run.address or None)


def _share(text: str) -> float:
    from opticnerve.errors import SpecError

    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise SpecError(f'--max-skipped needs a share such as 1% or 0.01, got "{text}"') from error
    if not 0 <= share <= 1:
        raise SpecError(f'--max-skipped is a share from 0 to 100%, got "{text}"')
    return share
