"""Steps that meet in files, found out while they run.

What is known to be handed over in a file is waited for (:class:`cellway.planning.Handed`). The first time, nobody
knows: all steps start that have their inputs. Then what each wrote and read is compared with when it ran, and a step
that looked at a file too early runs again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cellway.execution.progress import Phase, Progress, State
from cellway.planning import handing
from cellway.records import FileRead, Step

_RANDOM = re.compile(
    r"\brandom\.|\brand\w*\(|\.rvs\(|\bsample\w*\(|\bshuffle|\bchoices?\(|\bnormal\(|\bpermutation\("
    r"|\btrain_test_split\(|Fold\(|\bRandom\w+\(|\bDropout\(|\bDataLoader\("
)
_UNFINISHED = frozenset({Phase.PENDING, Phase.WAITING, Phase.RUNNING, Phase.UNSURE})


def waits(progress: Progress, state: State) -> bool:
    """Whether an earlier step that a step meets in a file is still to come to its end."""
    handed = progress.handed()
    known = handed.before(state.step.name)
    for name in {*known, *handed.guessed(state.step.name), *_drawing(progress, state)}:
        other = progress.states[name]
        if not other.needed or other.phase in {Phase.DONE, Phase.LEFT_OUT}:
            continue
        if name in known or other.phase in _UNFINISHED:
            return True
    return False


def _drawing(progress: Progress, state: State) -> list[str]:
    """Earlier steps of a seeded notebook that look as if they drew random numbers, where the step does, too.

    Nobody knows before they ran. Without waiting, each of them would run a second time from the right state.
    """
    if not state.step.draws or progress.known(state.step.name).draws is False or not _looks_random(state.step):
        return []
    earlier = progress.pipeline.steps[: state.step.position]
    same = [step for step in earlier if step.draws and step.chain == state.step.chain]
    return [step.name for step in same if progress.known(step.name).draws is not False and _looks_random(step)]


def _looks_random(step: Step) -> bool:
    """Whether the code of a step has a word that goes with random numbers."""
    own = (code.source for code in step.carried if code.binds and not code.source.startswith(("import ", "from ")))
    return any(_RANDOM.search(source) for source in (*own, *(code.source for code in step.cells)))


def begin(progress: Progress, state: State) -> None:
    """Note that a step starts, or is reused."""
    state.began = progress.tick()
    earlier = (progress.states[step.name] for step in progress.pipeline.steps[: state.step.position])
    state.ahead = tuple(other.step.name for other in earlier if other.needed and other.phase in _UNFINISHED)


def note(state: State, read: Iterable[FileRead], wrote: Iterable[FileRead] | None = None) -> None:
    """Note which files a step read, and which it wrote in this run, if it was executed."""
    state.seen = {file.path: file.digest for file in read}
    if wrote is not None:
        state.wrote = {file.path: file.digest for file in wrote}


def overtaken(progress: Progress, state: State) -> tuple[str, str] | None:
    """The earlier step, and its file, that a step looked at (or wrote) before the earlier one was through with it."""
    if state.phase is not Phase.DONE or state.facts is None:
        return None
    for step in progress.pipeline.steps[: state.step.position]:
        earlier = progress.states[step.name]
        if not earlier.wrote or earlier.phase is not Phase.DONE or earlier.ended < state.began:
            continue
        for path, digest in earlier.wrote.items():
            if handing.covers(state.facts.read, path):
                if state.seen.get(path) != digest:
                    return step.name, path
            elif path in state.wrote and path not in state.added and progress.handed().is_read(state.step.name, path):
                return step.name, path
    return None


def unfinished(progress: Progress, state: State) -> tuple[str, ...]:
    """Earlier steps that were not at their end when a step started, and still are not."""
    return tuple(name for name in state.ahead if progress.states[name].phase in _UNFINISHED)


def wrote_since(progress: Progress, state: State) -> tuple[str, str] | None:
    """An earlier step that wrote a file after a step started, and such a file."""
    for name in state.ahead:
        earlier = progress.states[name]
        if earlier.phase is Phase.DONE and earlier.ended > state.began and earlier.wrote:
            return name, next(iter(earlier.wrote))
    return None


def same_modules(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether the modules of two keys are the same."""
    return {n: v for n, v in before.items() if n.startswith("modules/")} == {
        n: v for n, v in now.items() if n.startswith("modules/")
    }
