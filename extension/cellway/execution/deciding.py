"""Whether a step runs: its inputs, its condition, the cache, a resumed run, and what other runs are doing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellway import fingerprint, planning
from cellway.errors import Place, StepError, UsageError
from cellway.execution import claims, conditions, meeting
from cellway.execution.progress import Progress, State
from cellway.planning import decision
from cellway.records import RANDOM, Artifact, PlannedStep, Status, StepRun

if TYPE_CHECKING:
    from cellway.execution import Setting

Inputs = Mapping[str, tuple[str, Artifact]]
"""What a step starts from: name → (provider, artifact)."""


class Decider:
    """Answers the questions that come before a step is started.

    Args:
        setting: of the run.
        progress: what has happened so far.
    """

    def __init__(self, setting: Setting, progress: Progress) -> None:
        self.setting = setting
        self.progress = progress
        self.finished = 0
        """How many steps have run: each may have written files that others read."""

    def inputs(self, state: State) -> dict[str, tuple[str, Artifact]]:
        """What a step starts from.

        Raises:
            StepError: an earlier step did not hand over what it should have.
        """
        found = {}
        for name, provider in self.progress.providers(state).items():
            artifact = self.progress.states[provider].artifacts.get(name)
            if artifact is None:
                raise StepError(
                    f"{name} was not handed over by step {provider}",
                    place=Place(step=state.step.name),
                    name=name,
                    fix=f"bind {name} on every path through step {provider}",
                )
            found[name] = (provider, artifact)
        return found

    def must_be_selected(self, state: State) -> None:
        """Refuse to run a step that the user left out.

        Raises:
            UsageError: it is not selected.
        """
        if not state.selected:
            name = state.step.name
            raise UsageError(
                f"step {name} is not selected, but what it hands over is needed and not in the cache",
                name=name,
                fix=f"run it first: --only {name}, or add it to the selection",
            )

    def decide(self, state: State, inputs: Inputs, anew: bool = False) -> PlannedStep:
        """Look into the cache; for a step that may draw, also work out the key for the case that it does."""
        given = {name: artifact for name, (_, artifact) in inputs.items()}
        generators = self.progress.generators(state)
        seen = given if generators is None else {RANDOM: generators[1], **given}
        world = (self.finished, {name: artifact.fingerprint for name, artifact in seen.items()})
        if state.planned is not None and state.decided == world and not anew:
            return state.planned
        planned = self._planned(state, given)
        state.planned, state.decided, state.drawn = planned, world, None
        if generators is not None and RANDOM not in given and planned.status is not Status.CACHED:
            state.drawn = self._planned(state, {**given, RANDOM: generators[1]})
        return planned

    def _planned(self, state: State, inputs: Mapping[str, Artifact]) -> PlannedStep:
        context, outputs = self.setting.context, self.progress.outputs(state)
        planned = planning.decide(
            state.step,
            context,
            inputs,
            outputs=outputs,
            providers=self.progress.providers(state),
            handed=self.progress.handed(),
        )
        if state.selected or planned.key is None or planned.status is Status.CACHED:
            return planned
        # A step that always runs again is not asked to do so where others start from what it left.
        for candidate in context.cache.lookup(planned.key.digest):
            if decision.object_to(candidate, state.step, context, outputs, self.progress.handed()) is None:
                return replace(planned, status=Status.CACHED, reason=decision.UNCHANGED, step_run=candidate.id)
        return planned

    def modules_moved(self, state: State) -> bool:
        """Whether modules that a step reaches were written by others since it was decided."""
        if state.planned is None or state.planned.key is None:
            return False
        self.setting.context.refresh()
        now = planning.key(state.step, self.setting.context, {}).parts
        before = state.planned.key.parts
        own = {path for path in state.wrote if path.endswith(".py")}
        return not own and not meeting.same_modules(before, now)

    def condition(self, state: State, inputs: Inputs) -> str | None:
        """Why a step is left out; ``None`` if it is not.

        Raises:
            UsageError: the condition cannot be evaluated.
        """
        expression = state.step.options.when
        if expression is None:
            return None
        values = dict(self.setting.context.parameters)
        for name in conditions.names(expression, state.step.name):
            if name in inputs:
                values[name] = self._plain(state, name, inputs[name][1])
        if conditions.holds(expression, values, state.step.name):
            return None
        return f"--when {expression} is false"

    def _plain(self, state: State, name: str, artifact: Artifact) -> Any:
        if artifact.materializer != "json" or artifact.member is not None:
            raise UsageError(
                f"--when uses {name}, which is a {artifact.type}: a condition looks at plain values only",
                place=Place(step=state.step.name),
                name=name,
                fix=f"bind what the condition is about to a name of its own, as a number or text, where {name} is made",
            )
        with Path(self.setting.store.path(artifact.digest)).open("rb") as file:
            return json.load(file)

    def claim(self, state: State, planned: PlannedStep) -> bool:
        """Claim the step's key, so that no other run computes it at the same time; whether it worked.

        Raises:
            StoreError: the folder of claims cannot be written.
        """
        if planned.key is None or self._forced(state):
            return True
        state.release()
        state.claim = claims.take(self.setting.folder / "claims", planned.key.digest)
        return state.claim is not None

    def _forced(self, state: State) -> bool:
        force = self.setting.context.selection.force
        return state.step.options.no_cache or "*" in force or state.step.name in force

    def resumable(self, state: State, planned: PlannedStep) -> StepRun | None:
        """What the interrupted part of this run has done already, although the cache was not to be asked."""
        done = self.setting.options.resume.get(state.step.name)
        if done is None or done.key is None or planned.key is None or done.key.digest != planned.key.digest:
            return None
        whole = done.status in {Status.COMPLETED, Status.CACHED}
        sound = [artifact for artifact in done.artifacts if not artifact.fingerprint.endswith(fingerprint.APART)]
        there = {artifact.name for artifact in sound if self.setting.store.has(artifact.digest)}
        return done if whole and there.issuperset(self.progress.outputs(state)) else None
