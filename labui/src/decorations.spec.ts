import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { Panel } from '@lumino/widgets';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Badge, Decorations } from './decorations';
import type { Role } from './records';

const trans = nullTranslator.load('cellway');

/** As much of a cell as headers touch: a column of widgets, a source, tags. */
class FakeCell extends Panel {
  constructor(
    public source: string,
    public tags: unknown = [],
    type = 'code',
    readonly ready: Promise<void> = Promise.resolve()
  ) {
    super();
    this.model = { type, getMetadata: () => this.tags, sharedModel: { getSource: () => this.source } };
    this.addWidget(new Panel());
    this.addWidget(new Panel());
  }

  readonly model: object;

  get badge(): HTMLElement | null {
    return this.node.querySelector<HTMLElement>('.cw-Badge');
  }
}

class FakePanel {
  constructor(cells: FakeCell[]) {
    this.content.widgets = cells;
  }

  readonly content = {
    widgets: [] as FakeCell[],
    modelContentChanged: new Signal<object, void>(this),
    modelChanged: new Signal<object, void>(this)
  };
  readonly context = { ready: Promise.resolve() };
  readonly disposed = new Signal<object, void>(this);
}

const decorate = (panel: FakePanel): Decorations => new Decorations(panel as unknown as NotebookPanel, trans);
const settle = async (): Promise<void> => {
  await vi.advanceTimersByTimeAsync(500);
};

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('Decorations', () => {
  it('puts a header between the cell header and the input of tagged code cells', async () => {
    const cells = [
      new FakeCell('%%step load'),
      new FakeCell('x = 1'),
      new FakeCell('y', ['step:train', 'after:load']),
      new FakeCell('%%step no', [], 'markdown')
    ];
    decorate(new FakePanel(cells));
    await settle();
    expect(cells.map(cell => cell.badge?.textContent ?? null)).toEqual(['stepload', null, 'steptrainafter load', null]);
    expect(cells[0]!.widgets[1]).toBeInstanceOf(Badge);
  });

  it('follows edits once typing rests, and takes a header away with its magic', async () => {
    const cell = new FakeCell('%%step load');
    const panel = new FakePanel([cell]);
    decorate(panel);
    await settle();

    cell.source = '%%step loading';
    panel.content.modelContentChanged.emit();
    await vi.advanceTimersByTimeAsync(50);
    expect(cell.badge?.textContent).toBe('stepload');
    await settle();
    expect(cell.badge?.textContent).toBe('steploading');

    cell.source = 'plain';
    panel.content.modelContentChanged.emit();
    await settle();
    expect(cell.badge).toBeNull();
    expect(cell.widgets).toHaveLength(2);

    cell.source = '%%step again';
    panel.content.modelContentChanged.emit();
    await settle();
    expect(cell.badge?.textContent).toBe('stepagain');
  });

  it('shows what a cell says when it comes into sight, not what it said before', async () => {
    let appear = (): void => undefined;
    const cell = new FakeCell('%%step old', [], 'code', new Promise<void>(resolve => (appear = resolve)));
    const panel = new FakePanel([cell]);
    decorate(panel);
    await settle();
    expect(cell.badge).toBeNull();

    cell.source = '%%step new';
    panel.content.modelContentChanged.emit();
    await settle();
    appear();
    await settle();
    expect(cell.node.querySelectorAll('.cw-Badge')).toHaveLength(1);
    expect(cell.badge?.textContent).toBe('stepnew');
  });

  it('numbers the cells of one step', async () => {
    const cells = [new FakeCell('%%step a'), new FakeCell('%%step a')];
    decorate(new FakePanel(cells));
    await settle();
    expect(cells.map(cell => cell.badge?.querySelector('.cw-Badge-remark')?.textContent)).toEqual(['1 of 2', '2 of 2']);
  });

  it('lets go of the notebook when its panel is closed', async () => {
    const cell = new FakeCell('%%step a');
    const panel = new FakePanel([cell]);
    const decorations = decorate(panel);
    await settle();
    panel.disposed.emit();
    expect(decorations.isDisposed).toBe(true);
    expect(cell.badge).toBeNull();
    panel.content.modelContentChanged.emit();
    await settle();
    expect(cell.badge).toBeNull();
  });

  it('leaves a cell alone that was deleted before it could be drawn', async () => {
    const cell = new FakeCell('%%step a');
    decorate(new FakePanel([cell]));
    cell.dispose();
    await settle();
    expect((cell as unknown as Cell).isDisposed).toBe(true);
  });

  it('is not put off by tags that are no list of texts', async () => {
    const cells = [new FakeCell('x', 'step:a'), new FakeCell('x', [1, null, 'step:b'])];
    decorate(new FakePanel(cells));
    await settle();
    expect(cells.map(cell => cell.badge?.textContent ?? null)).toEqual([null, 'stepb']);
  });
});

describe('Badge', () => {
  const shown = (role: Role): HTMLElement => {
    const badge = new Badge(trans);
    badge.showRole({ role, part: 1, parts: 1 });
    return badge.node;
  };

  it.each<[role: Role, text: string]>([
    [{ kind: 'parameters' }, 'parameters'],
    [{ kind: 'setup' }, 'setup'],
    [{ kind: 'skip' }, 'skip'],
    [{ kind: 'test', step: 'train' }, 'testtrain'],
    [{ kind: 'unclear', reason: 'no name', claims: ['%%step'] }, 'unclear%%step: name the step'],
    [{ kind: 'unclear', reason: 'wrong name', claims: ['step:1'] }, 'unclearstep:1: no name for a step'],
    [{ kind: 'unclear', reason: 'two roles', claims: ['%%setup', 'skip'] }, 'unclear%%setup, skip: keep one'],
    [{ kind: 'unclear', reason: 'after without step', claims: ['after:a'] }, 'unclearafter:a: no step here']
  ])('%j', (role, text) => {
    const node = shown(role);
    expect(node.textContent).toBe(text);
    expect(node.dataset.role).toBe(role.kind);
    expect(node.title).not.toBe('');
    expect(node.getAttribute('aria-label')).toMatch(/^cellway /);
  });

  it('shows markup in a name as text', () => {
    const node = shown({ kind: 'step', name: '<img src=x onerror=alert(1)>', after: ['<b>'] });
    expect(node.querySelector('img, b')).toBeNull();
    expect(node.textContent).toContain('<img src=x onerror=alert(1)>');
  });
});
