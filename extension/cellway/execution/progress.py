"""Where each step of a run stands, and whether it still stands on the right values (design §5.3, §5.6).

Steps are started as soon as what is known so far allows. What a step turns out to change, or to draw from the random
generators, can give a later step another provider; then what that step did is judged again. The yardstick is always the
same: a step stands if each name it read has, at its provider of now, the fingerprint that it started from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from cellway import planning
from cellway.backends import Cancellation
from cellway.execution.claims import Claim
from cellway.records import RANDOM, Artifact, Facts, Pipeline, PlannedStep, Step, StepRun


class Phase(Enum):
    """Of one step in one run."""

    PENDING = auto()
    WAITING = auto()
    """Another run computes it."""
    RUNNING = auto()
    DONE = auto()
    UNSURE = auto()
    """It failed, but earlier steps are not at their end that may write the file which it lacked."""
    FAILED = auto()
    LEFT_OUT = auto()
    """Its ``--when`` was false."""
    ENDED = auto()
    """Skipped or cancelled; nothing will happen to it any more."""


@dataclass(slots=True)
class State:
    """A step and what has become of it so far in this run.

    Attributes:
        needed: whether the run is about it (selected, or the source of what a selected step needs).
        selected: whether it may be executed.
        used: name → (provider, fingerprint) that it started from.
        artifacts: what it handed over, by name.
        stale: it runs on values that are no longer right, and its end will not count.
    """

    step: Step
    code: str
    needed: bool = True
    selected: bool = True
    phase: Phase = Phase.PENDING
    step_run: StepRun | None = None
    planned: PlannedStep | None = None
    drawn: PlannedStep | None = None
    """As ``planned``, for the case that it draws from the generators whose state it was given."""
    used: dict[str, tuple[str, str]] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    facts: Facts | None = None
    claim: Claim | None = None
    stop: Cancellation = field(default_factory=Cancellation)
    stale: bool = False
    attempt: int = 1
    not_before: float = 0.0
    waited: bool = False
    began: int = 0
    ended: int = 0
    """When it was last started (or reused) and came to its end, counted in such events of the run."""
    seen: dict[str, str] = field(default_factory=dict)
    """Files that it read, with digests."""
    wrote: dict[str, str] = field(default_factory=dict)
    """Files that it wrote in this run, with digests."""
    added: frozenset[str] = frozenset()
    """Those among them whose former content it kept: what it wrote last is not all that is there."""
    ahead: tuple[str, ...] = ()
    """Earlier steps that had not come to their end when it started."""
    decided: tuple[int, Mapping[str, str]] | None = None
    """For which state of the world, and which inputs, ``planned`` holds."""

    def use(self, inputs: Mapping[str, tuple[str, Artifact]]) -> None:
        """Note what the step starts from."""
        self.used = {name: (provider, artifact.fingerprint) for name, (provider, artifact) in inputs.items()}

    def release(self) -> None:
        """Give up the claim on its key, if there is one."""
        claim, self.claim = self.claim, None
        if claim is not None:
            claim.release()


class Progress:
    """All steps of a run.

    Args:
        pipeline: in notebook order.
        facts: of earlier runs, by step.
    """

    def __init__(self, pipeline: Pipeline, facts: Mapping[str, Facts]) -> None:
        self.pipeline = pipeline
        self.states = {step.name: State(step, planning.code_digest(step)) for step in pipeline.steps}
        self._before = facts
        self._resolution: Mapping[str, Mapping[str, str]] | None = None
        self._outputs: Mapping[str, tuple[str, ...]] = {}
        self._handed: planning.Handed | None = None
        self._clock = 0

    def tick(self) -> int:
        """The next moment of the run."""
        self._clock += 1
        return self._clock

    def settle(self, state: State, step_run: StepRun) -> None:
        """Note what a finished step handed over and what it showed."""
        name = state.step.name
        before = self.known(name)
        state.phase = Phase.DONE
        state.step_run = step_run
        state.artifacts = {artifact.name: artifact for artifact in step_run.artifacts}
        state.facts = step_run.facts
        state.ended = self.tick()
        if self.known(name) != before:
            self._resolution = self._handed = None

    def reopen(self, state: State) -> None:
        """A finished step has to be judged again. Its facts hold: they are facts about its code."""
        state.phase = Phase.PENDING
        state.planned = None
        state.attempt = 1
        state.not_before = 0.0
        state.stale = False
        state.waited = False
        self._resolution = self._handed = None

    def known(self, name: str) -> Facts:
        """What is known of a step, from earlier runs and this one."""
        state = self.states[name]
        before = self._before.get(name, Facts())
        if state.facts is None:
            return before
        changed = dict.fromkeys((*before.changed, *state.facts.changed))
        draws = before.draws if state.facts.draws is None else state.facts.draws
        wrote = tuple(dict.fromkeys((*before.wrote, *state.facts.wrote)))
        read = tuple(dict.fromkeys((*before.read, *state.facts.read)))
        if state.phase is Phase.DONE:
            # What it did not hand over this time, it cannot provide: then the value is the earlier step's.
            there = tuple(name for name in changed if name in state.artifacts)
            return Facts(there, bool(draws) and RANDOM in state.artifacts, wrote, read)
        return Facts(tuple(changed), draws, wrote, read)

    def resolution(self) -> Mapping[str, Mapping[str, str]]:
        """``step → name → provider`` by all that is known now."""
        if self._resolution is None:
            self._resolution = planning.resolve(self.pipeline, {name: self.known(name) for name in self.states})
            self._outputs = planning.outputs(self.pipeline, self._resolution)
        return self._resolution

    def handed(self) -> planning.Handed:
        """The files that steps hand to each other, by all that is known now."""
        if self._handed is None:
            self._handed = planning.Handed(self.pipeline, {name: self.known(name) for name in self.states})
        return self._handed

    def providers(self, state: State) -> Mapping[str, str]:
        """``name → provider`` of one step."""
        return self.resolution()[state.step.name]

    def outputs(self, state: State) -> tuple[str, ...]:
        """Names that a step must store."""
        self.resolution()
        return self._outputs[state.step.name]

    def generators(self, state: State) -> tuple[str, Artifact] | None:
        """The state that the generators have here, as far as is known, and the step that left it."""
        if not state.step.draws:
            return None
        found = None
        for step in self.pipeline.steps[: state.step.position]:
            earlier = self.states[step.name]
            if earlier.phase is Phase.DONE and RANDOM in earlier.artifacts:
                found = (step.name, earlier.artifacts[RANDOM])
        return found

    def current(self, state: State) -> dict[str, str]:
        """Fingerprint of the value that each name has where a step starts, as far as is known."""
        found: dict[str, str] = {}
        for step in self.pipeline.steps[: state.step.position]:
            earlier = self.states[step.name]
            facts = self.known(step.name)
            for name in step.deletes:
                found.pop(name, None)
            for name in (*step.writes, *facts.changed):
                artifact = earlier.artifacts.get(name) if earlier.phase is Phase.DONE else None
                if artifact is None:
                    found.pop(name, None)
                else:
                    found[name] = artifact.fingerprint
        return found

    def outdated(self, state: State) -> bool:
        """Whether a step stands on values that are no longer right."""
        providers = self.providers(state)
        for name, provider in providers.items():
            source = self.states[provider]
            before = state.used.get(name)
            if source.phase is Phase.DONE:
                artifact = source.artifacts.get(name)
                if (artifact.fingerprint if artifact else None) != (before[1] if before else None):
                    return True
            elif before is None or before[0] != provider:
                return True
        for name in state.used:
            # The generators' state is handed to every step that may draw; if it then did not, it does not matter.
            if name not in providers and (name != RANDOM or self.known(state.step.name).draws):
                return True
        return False
