import { describe, expect, it } from 'vitest';

import type { Role } from './records';
import { place, roleOf } from './tags';
import cases from './tags.cases.json';

const step = (name: string): Role => ({ kind: 'step', name, after: [] });

// The same table is put to the reader of notebooks, in tests/ui/test_tags_agree.py.
describe('roleOf', () => {
  it.each(cases)('$what', ({ source, tags, role }) => {
    expect(roleOf(source, tags)).toEqual(role);
  });
});

describe('place', () => {
  it('counts the cells of a step, wherever they stand', () => {
    const roles = [step('load'), null, step('train'), step('load'), { kind: 'skip' } as const];
    expect(place(roles).map(placed => placed && [placed.part, placed.parts])).toEqual([
      [1, 2],
      null,
      [1, 1],
      [2, 2],
      [1, 1]
    ]);
  });
});
