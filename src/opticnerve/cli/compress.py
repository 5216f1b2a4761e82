"""`opticnerve compress IMAGES`: images to visual tokens."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from opticnerve.cli.exit_codes import INTERRUPTED
from opticnerve.cli.flags import ConnectorFlags, OutputFlags, ViewFlags

if TYPE_CHECKING:
    from pathlib import Path

    from opticnerve.encode import Compressor

_FLAT = Parameter(name="*")
_CONNECTOR, _VIEW, _OUTPUT = ConnectorFlags(), ViewFlags(), OutputFlags()


def compress(
    images: list[str],
    /,
    *,
    connector: Annotated[ConnectorFlags, _FLAT] = _CONNECTOR,
    view: Annotated[ViewFlags, _FLAT] = _VIEW,
    output: Annotated[OutputFlags, _FLAT] = _OUTPUT,
) -> int:
    """Compress images to visual tokens: tile, encode, connect; one safetensors file an image, and a table.

    Without --model the connector's weights are random: counts and costs are real, the tokens mean nothing.

    Args:
        images: Files and folders.
        connector: Which connector.
        view: How images are seen.
        output: What comes out.
    """
    from opticnerve.cli.compare import compare_all
    from opticnerve.data import find_images
    from opticnerve.encode import is_picture

    _check(connector, view, output)
    paths = find_images(images, is_left_out=is_picture)
    if connector.all_methods:
        return compare_all(paths, connector, view, output)
    return _compress(paths, connector, view, output)


def _check(connector: ConnectorFlags, view: ViewFlags, output: OutputFlags) -> None:
    from opticnerve.errors import SpecError

    if connector.model and (view != _VIEW or connector != ConnectorFlags(model=connector.model)):
        raise SpecError("--model brings encoder, tiling, scales and connector along: leave out their flags")
    if connector.spec and (connector.method != _CONNECTOR.method or connector.method_option):
        raise SpecError("--spec and --method both name a connector: give one of them")
    if connector.all_methods and (connector.spec or connector.method_option):
        raise SpecError("--all-methods takes every method as it is: leave out --spec and --method.KEY")
    if connector.all_methods and output.picture:
        raise SpecError("--all-methods draws no pictures: leave out --picture, or choose one --method")


def _load(connector: ConnectorFlags, view: ViewFlags) -> "Compressor":
    from opticnerve.cli.options import read_options, read_spec_file
    from opticnerve.connectors import method, read_spec
    from opticnerve.encode import Compressor
    from opticnerve.views import fitting_method

    if connector.model:
        return Compressor.from_model(connector.model)
    options = read_options(connector.method_option)
    spec = read_spec(read_spec_file(connector.spec)) if connector.spec else method(connector.method, **options)
    tiled = view.settings().load(num_levels=spec.num_levels)
    if not connector.spec:
        spec = fitting_method(connector.method, tiled.sight, options)
    return Compressor.with_random_weights(tiled, spec, llm_dim=connector.llm_dim, seed=connector.seed)


def _compress(paths: "list[Path]", connector: ConnectorFlags, view: ViewFlags, output: OutputFlags) -> int:
    from opticnerve.cli.picture import drawing
    from opticnerve.cli.progress import with_progress
    from opticnerve.cli.quiet import quietly
    from opticnerve.cli.report import print_results, results_document
    from opticnerve.cli.terminal import complain, print_json
    from opticnerve.encode import Done, Failed, Job

    with quietly():
        compressor = _load(connector, view)
    draw = drawing(compressor) if output.picture else None
    job = Job(compressor, output.out, draw=draw, is_overwriting=output.overwrite, max_pixels=output.max_pixels)
    results: list[Done | Failed] = []
    try:
        for result in with_progress(job.run(paths), total=len(paths)):
            results.append(result)
            if isinstance(result, Failed):
                complain(f"skipped {result.reason}")
    except KeyboardInterrupt:
        done = sum(isinstance(result, Done) for result in results)
        complain(f"interrupted: {done} of {len(paths)} images are done and kept; the same command goes on from there")
        return INTERRUPTED
    if output.json:
        print_json(results_document(compressor, results))
    else:
        print_results(compressor, results, folder=output.out)
    return 1 if any(isinstance(result, Failed) for result in results) else 0
