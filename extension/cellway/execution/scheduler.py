"""Which step starts when, and what is told about it.

One thread, the one that iterates, decides everything; attempts at steps run in threads of their own and report through
a queue. Nothing here imports papermill: a run in which every step is cached never does.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellway import planning
from cellway.backends import JobEvent
from cellway.errors import CellwayError, StepError
from cellway.execution import handover, meeting, recording
from cellway.execution.deciding import Decider, Inputs
from cellway.execution.performing import Performed, described, perform
from cellway.execution.progress import Phase, Progress, State
from cellway.records import RANDOM, Event, Status, StepRun

if TYPE_CHECKING:
    from cellway.execution import Setting

_NO_WANT_OF_A_FILE = frozenset(
    {"SystemExit", "KeyboardInterrupt", "StdinNotImplementedError", "NameError", "SyntaxError"}
)
_TICK = 0.1
"""Seconds between two looks at the wish to cancel, and at claims of other runs."""
_JUDGED = frozenset({Phase.RUNNING, Phase.DONE, Phase.FAILED, Phase.LEFT_OUT, Phase.UNSURE})
_LONGEST_PAUSE = 60.0
_FAREWELL = 10.0
"""Seconds for threads of steps to end when the run is given up."""

Message = tuple[State, StepRun, "JobEvent | Performed"]


class Scheduler:
    """One run.

    Args:
        setting: what :func:`cellway.execution.run` was called with.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.run = setting.run
        context = setting.context
        self.progress = Progress(setting.pipeline, planning.facts(setting.pipeline, context.cache, context.source))
        self.states = list(self.progress.states.values())
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.noting: list[Message] = []
        self.threads: dict[str, threading.Thread] = {}
        self.cancelled = False
        self.swept = False
        self.decider = Decider(setting, self.progress)
        self._needed_for: object = None
        resolution, handed = self.progress.resolution(), self.progress.handed()
        selected = planning.select(setting.pipeline, context.selection, resolution, handed)
        for state in self.states:
            state.selected = state.step.name in selected

    # --- the run -----------------------------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """Everything that happens, in order; ends with ``run-finished``."""
        self.run = replace(self.run, status=Status.RUNNING)
        yield self._event("run-started")
        error: CellwayError | None = None
        try:
            while True:
                try:
                    yield from self._start_ready()
                    if not self._busy():
                        if not any(state.phase is Phase.UNSURE for state in self.states):
                            break
                        yield from self._settle_unsure(at_last=True)
                        continue
                    yield from self._receive()
                except KeyboardInterrupt:
                    self._interrupt()
        except CellwayError as caught:  # the call was wrong, or the project's folder cannot be written
            error = caught
            self._stop_all()
            yield from self._last_words()
        yield from self._leave_out()
        status = self._verdict(error)
        self.run = replace(self.run, status=status, ended=time.time())
        yield self._event("run-finished", message=str(error) if error else "")
        if error is not None:
            raise error

    def close(self) -> None:
        """End what still runs, at once; kernels are gone afterwards."""
        self._stop_all(at_once=True)
        deadline = time.monotonic() + _FAREWELL
        for thread in list(self.threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        for state in self.states:
            state.release()

    def _busy(self) -> bool:
        """Whether anything may still happen."""
        if any(state.phase is Phase.RUNNING for state in self.states):
            return True
        if self._halted():
            return False
        return any(
            state.phase is Phase.WAITING or (state.phase is Phase.PENDING and state.not_before > 0.0)
            for state in self.states
        )

    def _halted(self) -> bool:
        """Whether nothing new is started."""
        if self.cancelled:
            return True
        return not self.setting.options.keep_going and any(state.phase is Phase.FAILED for state in self.states)

    def _verdict(self, error: CellwayError | None) -> Status:
        if self.cancelled:
            return Status.CANCELLED
        if error is not None or any(state.phase is Phase.FAILED for state in self.states):
            return Status.FAILED
        return Status.COMPLETED

    # --- starting ----------------------------------------------------------------------------------------------

    def _start_ready(self) -> Iterator[Event]:
        """Decide every step that can be decided, and start what there is room for."""
        again = True
        while again:
            again = False
            self._look_for_cancel()
            self._look_what_is_needed()
            yield from self._settle_unsure()
            halted = self._halted()
            for state in self.states:
                if halted or not self._can_start(state):
                    continue
                before = state.phase
                yield from self._begin(state)
                halted = self._halted()
                # A step that is done already may let others start, also earlier ones in the list (outdated ones).
                again = again or state.phase is not before

    def _can_start(self, state: State) -> bool:
        return (
            state.needed
            and state.phase in {Phase.PENDING, Phase.WAITING}
            and state.not_before <= time.monotonic()
            and self._ready(state)
        )

    def _ready(self, state: State) -> bool:
        sources = set(self.progress.providers(state).values())
        if any(self.progress.states[name].phase is not Phase.DONE for name in sources):
            return False
        if meeting.waits(self.progress, state):
            return False
        fine = {Phase.DONE, Phase.LEFT_OUT}
        return all(
            self.progress.states[name].phase in fine or not self.progress.states[name].needed
            for name in state.step.after
        )

    def _begin(self, state: State) -> Iterator[Event]:
        """Decide one step whose inputs are there: cached, left out, somebody else's, or to be run."""
        try:
            inputs = self.decider.inputs(state)
            if (reason := self.decider.condition(state, inputs)) is not None:
                yield from self._left_out(state, inputs, reason)
                return
            planned = self.decider.decide(state, inputs)
            if planned.status is not Status.CACHED:
                self.decider.must_be_selected(state)
                if self._running() >= self.setting.options.jobs:
                    return
                if not self.decider.claim(state, planned):
                    yield from self._wait(state)
                    return
                if state.claim is not None:
                    # Whoever had the claim before us may have just finished.
                    planned = self.decider.decide(state, inputs, anew=True)
        except StepError as error:
            yield from self._fail_early(state, error)
            return
        if planned.status is Status.CACHED:
            assert planned.step_run is not None
            yield from self._reuse(state, inputs, self.setting.recall(planned.step_run))
        elif (done := self.decider.resumable(state, planned)) is not None:
            yield from self._reuse(state, inputs, done)
        else:
            yield from self._start(state, inputs)

    def _wait(self, state: State) -> Iterator[Event]:
        state.phase = Phase.WAITING
        state.not_before = time.monotonic() + _TICK
        if not state.waited:
            state.waited = True
            yield self._event("step-waiting", state, message="another run computes it")

    def _reuse(self, state: State, inputs: Inputs, done: StepRun) -> Iterator[Event]:
        step_run = replace(
            recording.begun(self.run.id, state, inputs, Status.CACHED),
            reason=state.planned.reason if state.planned is not None else "",
            artifacts=done.artifacts,
            files=done.files,
            facts=done.facts,
            producer=done.producer or done.id,
            ended=time.time(),
            notebook=done.notebook,
            touched=done.touched,
            environment=done.environment,
            watched=done.watched,
            written=done.written,
        )
        state.use(inputs)
        meeting.begin(self.progress, state)
        meeting.note(state, done.files)
        self.progress.settle(state, step_run)
        yield self._event("step-finished", state, step_run, step_run.reason)
        state.release()
        yield from self._judge_later(state)

    def _left_out(self, state: State, inputs: Inputs, reason: str) -> Iterator[Event]:
        state.phase = Phase.LEFT_OUT
        state.use(inputs)
        state.step_run = self._closed(state, inputs, Status.SKIPPED, reason=reason)
        yield self._event("step-finished", state, state.step_run, reason)

    def _fail_early(self, state: State, error: StepError) -> Iterator[Event]:
        state.phase = Phase.FAILED
        state.used = {}
        state.step_run = self._closed(state, {}, Status.FAILED, error=described(error))
        yield self._event("step-finished", state, state.step_run, error.message)
        state.release()

    def _start(self, state: State, inputs: Inputs) -> Iterator[Event]:
        generators = self.progress.generators(state)
        if generators is not None:
            inputs = {**inputs, RANDOM: inputs.get(RANDOM, generators)}
        assert state.planned is not None
        step_run = replace(
            recording.begun(self.run.id, state, inputs, Status.RUNNING),
            reason=state.planned.reason,
            changes=state.planned.changes,
            notebook=recording.notebook_path(self.setting.folder, self.run.id, state.step.name),
        )
        state.use(inputs)
        meeting.begin(self.progress, state)
        state.phase = Phase.RUNNING
        state.stale = False
        state.stop = type(state.stop)()
        state.step_run = step_run
        if not self.swept:
            self.swept = True
            handover.sweep(self.setting.folder / "tmp")
        outputs, current = self.progress.outputs(state), self.progress.current(state)
        task = recording.task(self.setting, state, step_run, inputs, outputs, current)

        def work() -> None:
            performed = perform(
                task,
                self.setting.store,
                lambda event: self.inbox.put((state, step_run, event)),
                state.stop,
            )
            self.inbox.put((state, step_run, performed))

        yield self._event("step-started", state, step_run, step_run.reason)
        thread = threading.Thread(target=work, name=f"cellway {state.step.name}", daemon=True)
        self.threads[step_run.id] = thread
        thread.start()

    # --- ending ------------------------------------------------------------------------------------------------

    def _receive(self) -> Iterator[Event]:
        """Wait for news for a moment, and pass on what there is."""
        with contextlib.suppress(queue.Empty):
            # What came in stays in this list until it is told: Ctrl-C may strike in between.
            self.noting = self.noting or [self.inbox.get(timeout=_TICK)]
            while True:
                yield from self._note(*self.noting[0])
                self.noting.append(self.inbox.get_nowait())

    def _note(self, state: State, step_run: StepRun, news: JobEvent | Performed) -> Iterator[Event]:
        if isinstance(news, JobEvent):
            self.noting.clear()
            if not state.stale:
                yield self._event(news.kind, state, step_run, data=news.data)
            return
        self.threads.pop(step_run.id, None)
        self.decider.finished += 1
        step_run = recording.ended(state, step_run, news)
        if news.result is not None:
            meeting.note(state, (*news.result.files, *news.result.imported), news.result.written)
            state.added = news.result.added
            if self.decider.modules_moved(state):
                step_run = recording.without_reuse(step_run)
        state.step_run = step_run
        self.noting.clear()
        if step_run.status is Status.FAILED and not state.stale and news.retry and self._is_unsure(state):
            yield from self._doubt(state)
            return
        if step_run.status is Status.FAILED and not state.stale and news.retry and self._may_retry(state):
            yield from self._retry(state, step_run)
            return
        if step_run.status is Status.COMPLETED:
            self.progress.settle(state, step_run)
        elif not state.stale:
            state.phase = Phase.FAILED if step_run.status is Status.FAILED else Phase.ENDED
        if not state.stale or step_run.status is Status.COMPLETED:
            # Also of a stale step: it came to its end before it could be stopped, and is right for its key.
            yield self._event("step-finished", state, step_run, news.error.message if news.error else "")
        state.release()
        if state.stale:
            self.progress.reopen(state)
        yield from self._judge_later(state)

    def _may_retry(self, state: State) -> bool:
        return state.attempt <= state.step.options.retries and not self.cancelled

    def _retry(self, state: State, step_run: StepRun) -> Iterator[Event]:
        pause = min(_LONGEST_PAUSE, self.setting.options.pause * 2 ** (state.attempt - 1))
        step_run = recording.set_aside(self.setting.folder, state, step_run)
        state.step_run = step_run
        state.attempt += 1
        state.phase = Phase.PENDING
        state.not_before = time.monotonic() + pause
        attempts = state.step.options.retries + 1
        why = (step_run.error or {}).get("message", "")
        yield self._event("step-retry", state, step_run, f"attempt {state.attempt} of {attempts} in {pause:g} s: {why}")
        state.release()

    def _judge_later(self, finished: State) -> Iterator[Event]:
        """Find steps that stand on values which are no longer right, and let them run again.

        The one that has just finished is among them: it may have drawn from generators that an earlier one moved on.
        """
        # What stands above it has missed nothing, unless two wrote a file that, as is seen now, this one reads.
        reads = finished.facts is not None and finished.facts.read
        for state in self.states if reads else self.states[finished.step.position :]:
            if state.stale or state.phase not in _JUDGED:
                continue
            met = meeting.overtaken(self.progress, state)
            if met is None and (state.step.position < finished.step.position or not self.progress.outdated(state)):
                continue
            why = self._why(state) if met is None else f"{met[0]} wrote {met[1]} after this step had started"
            yield self._event("step-outdated", state, state.step_run, why)
            if state.phase is Phase.RUNNING:
                state.stale = True
                state.stop.kill()
            else:
                self.progress.reopen(state)

    # --- failed, or just too early? ------------------------------------------------------------------------------

    def _is_unsure(self, state: State) -> bool:
        """Whether a step may have failed only because an earlier one had not written a file yet."""
        error = (state.step_run.error if state.step_run else None) or {}
        # A time limit, a dead kernel, or an end that the code asked for: no file would have helped.
        if self.cancelled or error.get("kind") != "CellFailed" or error.get("ename") in _NO_WANT_OF_A_FILE:
            return False
        return bool(meeting.unfinished(self.progress, state)) or meeting.wrote_since(self.progress, state) is not None

    def _doubt(self, state: State) -> Iterator[Event]:
        state.phase = Phase.UNSURE
        state.release()
        if ahead := meeting.unfinished(self.progress, state):
            why = (state.step_run.error or {}).get("message", "") if state.step_run is not None else ""
            message = f"failed ({why}), but {', '.join(ahead)} may still write what it lacks"
            yield self._event("step-waiting", state, state.step_run, message)

    def _settle_unsure(self, at_last: bool = False) -> Iterator[Event]:
        """Let failed steps run again if a file was written meanwhile, or report them when none can be any more."""
        for state in self.states:
            if state.phase is not Phase.UNSURE or (not at_last and meeting.unfinished(self.progress, state)):
                continue
            met = meeting.wrote_since(self.progress, state)
            step_run = state.step_run
            assert step_run is not None
            if met is not None and not self._halted():
                why = f"it failed, and {met[0]} wrote {met[1]} meanwhile"
                yield self._event("step-outdated", state, step_run, why)
                self.progress.reopen(state)
            elif self._may_retry(state) and not self._halted():
                yield from self._retry(state, step_run)
            else:
                state.phase = Phase.FAILED
                yield self._event("step-finished", state, step_run, (step_run.error or {}).get("message", ""))

    def _why(self, state: State) -> str:
        for name, provider in self.progress.providers(state).items():
            before = state.used.get(name)
            artifact = self.progress.states[provider].artifacts.get(name)
            if before is None or before[0] != provider or artifact is None or artifact.fingerprint != before[1]:
                shown = "the state of the random generators" if name == RANDOM else name
                return f"{provider} changed {shown} after this step had started from it"
        return "its inputs changed"

    # --- cancelling and leaving out ---------------------------------------------------------------------------------

    def _look_for_cancel(self) -> None:
        wish = self.setting.options.cancel
        if wish.is_set():
            self.cancelled = True
            self._stop_all(at_once=bool(getattr(wish, "at_once", False)))

    def _interrupt(self) -> None:
        """Ctrl-C in this thread: the first time politely, the second time at once."""
        self._stop_all(at_once=self.cancelled)
        self.cancelled = True

    def _stop_all(self, at_once: bool = False) -> None:
        for state in self.states:
            if state.phase is Phase.RUNNING:
                state.stop.kill() if at_once else state.stop.set()

    def _last_words(self) -> Iterator[Event]:
        """Wait for what was told to stop; a defect of the project's folder must not hide what still came through."""
        deadline = time.monotonic() + _FAREWELL
        while any(s.phase is Phase.RUNNING for s in self.states) and time.monotonic() < deadline:
            with contextlib.suppress(CellwayError):
                yield from self._receive()

    def _leave_out(self) -> Iterator[Event]:
        """Say of each step that was not started why not."""
        if self.cancelled:
            return
        for state in self.states:
            if state.phase not in {Phase.PENDING, Phase.WAITING} or not (state.needed and state.selected):
                continue
            failed = state.step_run
            if failed is not None and failed.status is Status.FAILED:  # there will be no further attempt
                state.phase = Phase.FAILED
                yield self._event("step-finished", state, failed, (failed.error or {}).get("message", ""))
                continue
            reason = self._obstacle(state)
            state.phase = Phase.ENDED
            state.step_run = self._closed(state, {}, Status.SKIPPED, reason=reason)
            yield self._event("step-finished", state, state.step_run, reason)

    def _obstacle(self, state: State) -> str:
        seen: set[str] = set()
        todo = [state]
        while todo:
            near = todo.pop(0)
            met = self.progress.handed().before(near.step.name)
            for name in (*self.progress.providers(near).values(), *near.step.after, *met):
                source = self.progress.states[name]
                if source.phase is Phase.FAILED:
                    return f"because {name} failed"
                if source.phase is Phase.LEFT_OUT and name in self.progress.providers(near).values():
                    return f"because {name} was left out"
                if name not in seen:
                    seen.add(name)
                    todo.append(source)
        failed = [other.step.name for other in self.states if other.phase is Phase.FAILED]
        return f"not started, because {failed[0]} failed" if failed else "not started"

    # --- small things --------------------------------------------------------------------------------------------

    def _look_what_is_needed(self) -> None:
        """Steps outside the selection matter as far as selected ones start from what they left."""
        resolution = self.progress.resolution()
        if resolution is self._needed_for:
            return
        self._needed_for = resolution
        needed = {state.step.name for state in self.states if state.selected}
        for state in reversed(self.states):
            state.needed = state.step.name in needed
            if state.needed:
                needed.update(resolution[state.step.name].values())

    def _running(self) -> int:
        return sum(state.phase is Phase.RUNNING for state in self.states)

    def _closed(self, state: State, inputs: Inputs, status: Status, **more: Any) -> StepRun:
        """The record of a step that was never started."""
        return replace(recording.begun(self.run.id, state, inputs, status), ended=time.time(), **more)

    def _event(
        self,
        kind: str,
        state: State | None = None,
        step_run: StepRun | None = None,
        message: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        step = state.step.name if state is not None else None
        return Event(kind, time.time(), self.run, step, step_run, message, data or {})
