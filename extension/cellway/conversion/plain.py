"""What step notebooks need to say when nobody but papermill runs them: no facts, no plan, one after the other."""

from __future__ import annotations

from itertools import pairwise

from cellway import fingerprint
from cellway.errors import Place, Refusal
from cellway.records import Pipeline, Step


def providers(pipeline: Pipeline, step: Step) -> dict[str, str]:
    """Name → step that provides it, names included that an earlier step only may change.

    A list of constants that every step carries is such a name: whether a step changed it shows when it runs.
    """
    found = dict(step.inputs)
    for name in step.reads:
        if name not in found:
            earlier = [other.name for other in pipeline.steps[: step.position] if name in other.may_change]
            if earlier:
                found[name] = earlier[-1]
    return found


def outputs(pipeline: Pipeline, step: Step) -> tuple[str, ...]:
    """Names to save: a later step that loads what this one may have changed must find it, changed or not."""
    after = pipeline.steps[step.position + 1 :]
    wanted = {name for other in after for name, provider in providers(pipeline, other).items() if provider == step.name}
    return (*step.outputs, *(name for name in step.reads if name in wanted and name not in step.outputs))


def seed(step: Step) -> int:
    """What a step's generators start from, in a pipeline whose seed is 0; as :func:`cellway.planning.seed` has it."""
    if isinstance(step.options.seed, int):
        return step.options.seed
    return int(fingerprint.text("seed", f"0:{step.name}")[:8], 16)


def check_seeding(pipeline: Pipeline) -> None:
    """Refuse a notebook that seeds anew between steps: the folder for values holds one state of the generators.

    Raises:
        Refusal: naming the first step below the seeding line.
    """
    drawing = [step for step in pipeline.steps if step.draws]
    for before, step in pairwise(drawing):
        if step.chain != before.chain:
            raise Refusal(
                f"the random generators are seeded anew above this step, in a cell that is not part of a step; "
                f"in a folder, step {step.name} would go on with the state that {before.name} left",
                place=Place(step.cells[0].cell, step=step.name),
                fix=f"move the line that seeds into a cell of step {step.name}",
            )
