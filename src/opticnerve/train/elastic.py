"""One connector for several budgets: a stage takes turns with them, and the weights are the same ones."""

from dataclasses import dataclass

from opticnerve.connectors import Connector
from opticnerve.connectors.budgets import share_weights
from opticnerve.train.errors import TrainingError
from opticnerve.train.recipe import ModelSettings, Stage
from opticnerve.train.starts import Start, connect_as
from opticnerve.vlm import OpticNerveImageProcessor, OpticNerveProcessor
from opticnerve.vlm.projector import Projector


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgets:
    """The budgets of a stage, by the numbers of their turns."""

    projector: Projector
    """The model's."""
    connectors: tuple[Connector, ...]
    """The model's connector, as it is at each budget."""
    processors: tuple[OpticNerveProcessor, ...]
    """The model's processor, which counts tokens at each budget."""

    def take(self, turn: int) -> None:
        """Let the model connect at one of the budgets.

        Args:
            turn: its number.
        """
        own, other = self.projector.connector, self.connectors[turn]
        if other is not own:
            share_weights(own, other)  # a buffer that was moved or averaged is another tensor by now
            self.projector.connector = other.train(self.projector.training)


def open_budgets(start: Start, stage: Stage, *, model: ModelSettings) -> Budgets | None:
    """Make a model ready to learn several budgets.

    Args:
        start: the model and its processor, as the stage has them.
        stage: names the options of each budget.
        model: what the model is made of.

    Returns:
        The budgets; None where the stage has only one.

    Raises:
        TrainingError: weights are to be shared out among processes.
        UnknownNameError: the method has no such option.
        SpecError: the options need weights that the model does not have.
    """
    if not stage.elastic:
        return None
    if stage.sharding == "fsdp2":
        raise TrainingError(
            f'stage "{stage.name}" is elastic, so several connectors share their weights, which fsdp2 cannot share out'
            ' among processes: use sharding "ddp".'
        )
    given = [{**stage.method_options, **options} for options in stage.elastic]
    made = [
        connect_as(start, model, options, where=f'stage "{stage.name}", elastic.{number}')
        for number, options in enumerate(given)
    ]
    own, sight = start.processor, start.processor.image_processor.sight.to_dict()
    processors = [
        OpticNerveProcessor(
            OpticNerveImageProcessor(sight=sight, connector=spec.to_dict()),
            own.tokenizer,
            chat_template=own.chat_template,
            image_token=own.image_token,
        )
        for spec, _ in made
    ]
    return Budgets(
        projector=start.model.model.multi_modal_projector,
        connectors=tuple(connector for _, connector in made),
        processors=tuple(processors),
    )
