"""transformers knows our models, in whatever order the two are imported, and `import opticnerve` stays light."""

import os
import subprocess
import sys

import pytest
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor

import opticnerve
from opticnerve import registration


def run(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


KNOWN = """
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
config = CONFIG_MAPPING["opticnerve"]
mappings = [MODEL_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PROCESSOR_MAPPING]
print(*[mapping[config].__name__ for mapping in mappings], processor_class_from_name("OpticNerveProcessor").__name__,
      IMAGE_PROCESSOR_MAPPING[config]["pil"].__name__)
"""
NAMES = ["Model", "ForConditionalGeneration", "Processor", "Processor", "ImageProcessor"]


@pytest.mark.parametrize(
    "before",
    [
        "import opticnerve",
        "from transformers import AutoProcessor, AutoModelForImageTextToText, AutoImageProcessor\nimport opticnerve",
        "import opticnerve\nfrom transformers import pipeline",
    ],
)
def test_the_order_of_imports_does_not_matter(before: str) -> None:
    assert run(before + KNOWN).split() == [f"OpticNerve{name}" for name in NAMES]


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'einops', 'pydantic'}"
    assert run(f"import sys, opticnerve; print(*sorted({heavy} & set(sys.modules)))") == ""


def test_registering_twice_is_registering_once() -> None:
    registration.register()
    assert [type(finder) for finder in sys.meta_path].count(registration._Finder) == 1


def test_the_classes_live_here_and_are_found_by_transformers_names() -> None:
    import transformers.models.opticnerve as served  # type: ignore[import-not-found]

    assert served.OpticNerveConfig is opticnerve.vlm.OpticNerveConfig
    assert AutoConfig.for_model("opticnerve", image_token_id=3).image_token_id == 3
    for auto in (AutoModel, AutoModelForImageTextToText):
        assert opticnerve.vlm.OpticNerveConfig in auto._model_mapping
    assert AutoProcessor is not None
    assert AutoImageProcessor is not None


def test_modules_with_tables_keep_their_sources() -> None:
    code = (
        "import opticnerve, inspect\nfrom transformers.models.auto import configuration_auto as module\n"
        "print('CONFIG_MAPPING' in inspect.getsource(module), module.__spec__.loader.is_package(module.__name__))"
    )
    assert run(code) == "True False"
