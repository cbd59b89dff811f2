/** Reads a code cell's role from its first line (magic) and its tags. Both mean the same; both may be used at once. */

import type { PlacedRole, Role, UnclearRole } from './records';

/**
 * The magic at the head of a cell: blank lines and comments may stand above it, blanks not before it, and `%%step?`
 * asks for help. As in `extension/cellway/notebook/grammar.py`, which has the last word.
 */
const MAGIC = /^(?:[^\S\n]*(?:#[^\n]*)?\n)*%%([a-z]+)(?:[^\S\n]+([^\n]*))?(?:\n|$)/;

/** What may be the name of a step. */
const STEP_NAME = /^[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?$/;

/** A word, parts of which may be quoted. */
const WORD = /(?:"[^"]*"|'[^']*'|[^\s"'])+/g;

/** papermill's tag of the cell in which it puts the values of a run. */
const INJECTED = 'injected-parameters';

/** One thing the author wrote about the cell. */
interface Claim {
  readonly kind: 'step' | 'parameters' | 'setup' | 'test' | 'skip' | 'after';
  /** Of the step; empty where there is none to name, or none was named. */
  readonly name: string;
  readonly after: readonly string[];
  /** As written, for messages. */
  readonly text: string;
}

/** The role of a code cell, or null where the author gave it none. */
export function roleOf(source: string, tags: readonly string[]): Role | null {
  const claims = [...claimOfMagic(source), ...tags.flatMap(claimOfTag)];
  const after = claims.flatMap(claim => claim.after);
  const named = claims.filter(claim => claim.kind !== 'after');
  const first = named[0];

  if (first === undefined) {
    return claims.length === 0 ? null : unclear('after without step', claims);
  }
  if (named.some(claim => claim.kind !== first.kind || claim.name !== first.name)) {
    return unclear('two roles', named);
  }
  if (first.kind !== 'step' && after.length > 0) {
    return unclear('after without step', claims);
  }
  switch (first.kind) {
    case 'step':
    case 'test':
      if (!STEP_NAME.test(first.name)) {
        return unclear(first.name === '' ? 'no name' : 'wrong name', named);
      }
      return first.kind === 'step'
        ? { kind: 'step', name: first.name, after: unique(after) }
        : { kind: 'test', step: first.name };
    case 'parameters':
    case 'setup':
    case 'skip':
      return { kind: first.kind };
    case 'after':
      return null; // not among the named ones
  }
}

/** Says for each cell of a notebook which of its step's cells it is; `roles` are in notebook order. */
export function place(roles: readonly (Role | null)[]): (PlacedRole | null)[] {
  const parts = new Map<string, number>();
  const placed = roles.map(role => {
    const name = role?.kind === 'step' ? role.name : null;
    const part = name === null ? 1 : (parts.get(name) ?? 0) + 1;
    if (name !== null) {
      parts.set(name, part);
    }
    return { role, part };
  });
  return placed.map(({ role, part }) =>
    role === null ? null : { role, part, parts: role.kind === 'step' ? (parts.get(role.name) ?? part) : 1 }
  );
}

function claimOfMagic(source: string): Claim[] {
  const match = MAGIC.exec(source);
  const magic = match?.[1];
  const text = `%%${magic} ${match?.[2] ?? ''}`.trim();
  const words = wordsOf(match?.[2] ?? '');
  switch (magic) {
    case 'step':
      return [{ kind: magic, name: nameIn(words), after: afterIn(words), text }];
    case 'test':
      return [{ kind: magic, name: nameIn(words), after: [], text }];
    case 'parameters':
    case 'setup':
    case 'skip':
      return [{ kind: magic, name: '', after: [], text }];
    default:
      return [];
  }
}

function claimOfTag(written: string): Claim[] {
  const text = written.trim();
  const colon = text.indexOf(':');
  const kind = colon < 0 ? text : text.slice(0, colon);
  const name = colon < 0 ? '' : text.slice(colon + 1).trim();
  switch (kind) {
    case 'step':
      return [{ kind, name, after: [], text }];
    case 'test': // alone it is a word that other tools use too
      return colon < 0 ? [] : [{ kind, name, after: [], text }];
    case 'after':
      return colon < 0 ? [] : [{ kind, name: '', after: namesIn(name), text }];
    case 'parameters':
    case 'setup':
    case 'skip':
      return colon < 0 ? [{ kind, name: '', after: [], text }] : [];
    case INJECTED:
      return colon < 0 ? [{ kind: 'parameters', name: '', after: [], text }] : [];
    default:
      return [];
  }
}

/** Words of a magic's line, quotes resolved. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(WORD)].map(([word]) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}

/** `%%step NAME ...`: the name, usually before the options. */
function nameIn(words: readonly string[]): string {
  const [first] = words;
  return first === undefined || first.startsWith('-') ? '' : first;
}

/** `--after a,b` and `--after=a,b`, as often as one likes. */
function afterIn(words: readonly string[]): string[] {
  return words.flatMap((word, index) => {
    if (word.startsWith('--after=')) {
      return namesIn(word.slice('--after='.length));
    }
    return word === '--after' ? namesIn(words[index + 1] ?? '') : [];
  });
}

function namesIn(list: string): string[] {
  return list
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '' && !name.startsWith('-'));
}

function unclear(reason: UnclearRole['reason'], claims: readonly Claim[]): Role {
  return { kind: 'unclear', reason, claims: unique(claims.map(claim => claim.text)) };
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}
