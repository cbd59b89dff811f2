/** The vocabulary of the browser side: plain records, no behaviour. A step has cells, a cell has a role. */

/** Adds the cell to a step. */
export interface StepRole {
  readonly kind: 'step';
  readonly name: string;
  /** Steps that must be done first although no data flows from them. */
  readonly after: readonly string[];
}

/** The cell's assignments are the pipeline's parameters. */
export interface ParametersRole {
  readonly kind: 'parameters';
}

/** The cell runs first in every step. */
export interface SetupRole {
  readonly kind: 'setup';
}

/** Assertions about a step's outputs. */
export interface TestRole {
  readonly kind: 'test';
  readonly step: string;
}

/** The cell is never part of the pipeline. */
export interface SkipRole {
  readonly kind: 'skip';
}

/** What the author wrote cannot be read one way; cellway will refuse it, so the header says so already. */
export interface UnclearRole {
  readonly kind: 'unclear';
  readonly reason: 'two roles' | 'no name' | 'wrong name' | 'after without step';
  /** The magics and tags concerned, as the author would write them. */
  readonly claims: readonly string[];
}

/** What a code cell is to the pipeline. A cell without magic and tags has no role: it is exploration. */
export type Role = StepRole | ParametersRole | SetupRole | TestRole | SkipRole | UnclearRole;

/** A role within its notebook: cell `part` of the `parts` cells of a step (1 of 1 for everything that is no step). */
export interface PlacedRole {
  readonly role: Role;
  readonly part: number;
  readonly parts: number;
}
