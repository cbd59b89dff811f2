/** Shows above each tagged cell which step it belongs to. */

import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import type { PanelLayout } from '@lumino/widgets';
import { Widget } from '@lumino/widgets';

import type { PlacedRole, Role, UnclearRole } from './records';
import { place, roleOf } from './tags';

/** How long typing may go on before headers follow. */
const QUIET_MS = 200;

/** Where a cell's layout takes a header: 0 is JupyterLab's own (empty) cell header. */
const HEADER_INDEX = 1;

/** The header of one cell: what kind of cell it is, the name that belongs to it, and a remark. */
export class Badge extends Widget {
  constructor(trans: TranslationBundle) {
    super();
    this.addClass('cw-Badge');
    this.node.setAttribute('role', 'note');
    this._trans = trans;
    for (const part of [this._kind, this._name, this._remark]) {
      this.node.append(part);
    }
    this._kind.className = 'cw-Badge-kind';
    this._name.className = 'cw-Badge-name jp-text-truncated';
    this._remark.className = 'cw-Badge-remark jp-text-truncated';
  }

  /** Show a role; the page is touched only where something changed. */
  showRole(placed: PlacedRole): void {
    const state = JSON.stringify(placed);
    if (state === this._state) {
      return;
    }
    this._state = state;
    const text = describe(placed, this._trans);
    this._kind.textContent = text.kind;
    this._name.textContent = text.name;
    this._remark.textContent = text.remark;
    this.node.title = text.title;
    this.node.setAttribute(
      'aria-label',
      ['cellway', text.kind, text.name, text.remark].filter(word => word !== '').join(' ')
    );
    this.node.dataset.role = placed.role.kind;
  }

  private readonly _trans: TranslationBundle;
  private readonly _kind = document.createElement('span');
  private readonly _name = document.createElement('span');
  private readonly _remark = document.createElement('span');
  private _state = '';
}

/** Keeps the headers of one notebook in step with its cells. Lives as long as the notebook's panel. */
export class Decorations implements IDisposable {
  constructor(panel: NotebookPanel, trans: TranslationBundle) {
    this._panel = panel;
    this._trans = trans;
    panel.content.modelContentChanged.connect(this._schedule, this);
    panel.content.modelChanged.connect(this._schedule, this);
    panel.disposed.connect(this.dispose, this);
    void panel.context.ready.then(() => this.refresh());
  }

  /** Whether the headers are no longer kept. */
  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Stop following the notebook and take the headers away. */
  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    window.clearTimeout(this._timer);
    this._panel.content.modelContentChanged.disconnect(this._schedule, this);
    this._panel.content.modelChanged.disconnect(this._schedule, this);
    this._panel.disposed.disconnect(this.dispose, this);
    for (const cell of this._panel.content.widgets) {
      this._badges.get(cell)?.dispose();
    }
  }

  /** Draw the headers now. */
  async refresh(): Promise<void> {
    if (this._isDisposed) {
      return;
    }
    const cells = this._panel.content.widgets;
    const placed = place(cells.map(roleOfCell));
    await Promise.all(cells.map((cell, index) => this._decorate(cell, placed[index] ?? null)));
  }

  private async _decorate(cell: Cell, placed: PlacedRole | null): Promise<void> {
    this._wanted.set(cell, placed);
    // A cell out of sight has no layout until it is drawn for the first time; by then it may have changed, or be gone.
    await cell.ready;
    if (this._isDisposed || cell.isDisposed) {
      return;
    }
    const wanted = this._wanted.get(cell) ?? null;
    let badge = this._badges.get(cell);
    if (wanted === null) {
      badge?.dispose();
      this._badges.delete(cell);
      return;
    }
    if (badge === undefined || badge.isDisposed) {
      // eslint-disable-next-line jupyter/require-disposable-ownership -- the cell's layout owns it, and disposes of it
      badge = new Badge(this._trans);
      this._badges.set(cell, badge);
      (cell.layout as PanelLayout).insertWidget(HEADER_INDEX, badge);
    }
    badge.showRole(wanted);
  }

  private _schedule(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => void this.refresh(), QUIET_MS);
  }

  private readonly _panel: NotebookPanel;
  private readonly _trans: TranslationBundle;
  private readonly _badges = new WeakMap<Cell, Badge>();
  private readonly _wanted = new WeakMap<Cell, PlacedRole | null>();
  private _timer: number | undefined;
  private _isDisposed = false;
}

function roleOfCell(cell: Cell): Role | null {
  if (cell.model.type !== 'code') {
    return null;
  }
  const tags = cell.model.getMetadata('tags') as unknown;
  return roleOf(
    cell.model.sharedModel.getSource(),
    Array.isArray(tags) ? tags.filter((tag): tag is string => typeof tag === 'string') : []
  );
}

interface BadgeText {
  readonly kind: string;
  readonly name: string;
  readonly remark: string;
  readonly title: string;
}

/** A role in the reader's words. Names come from the notebook and are shown as text only. */
function describe({ role, part, parts }: PlacedRole, trans: TranslationBundle): BadgeText {
  switch (role.kind) {
    case 'step': {
      const remarks = [
        ...(parts > 1 ? [trans.__('%1 of %2', part, parts)] : []),
        ...(role.after.length > 0 ? [trans.__('after %1', role.after.join(', '))] : [])
      ];
      return {
        kind: trans.__('step'),
        name: role.name,
        remark: remarks.join(' · '),
        title:
          parts > 1
            ? trans.__('Cell %1 of the %2 cells of step “%3”', part, parts, role.name)
            : trans.__('The cell of step “%1”', role.name)
      };
    }
    case 'test':
      return {
        kind: trans.__('test'),
        name: role.step,
        remark: '',
        title: trans.__('Checks the outputs of step “%1”', role.step)
      };
    case 'parameters':
      return {
        kind: trans.__('parameters'),
        name: '',
        remark: '',
        title: trans.__('Assignments in this cell are the pipeline’s parameters')
      };
    case 'setup':
      return { kind: trans.__('setup'), name: '', remark: '', title: trans.__('Runs first in every step') };
    case 'skip':
      return { kind: trans.__('skip'), name: '', remark: '', title: trans.__('Never part of the pipeline') };
    case 'unclear':
      return { kind: trans.__('unclear'), name: '', ...complaint(role.reason, role.claims.join(', '), trans) };
  }
}

function complaint(
  reason: UnclearRole['reason'],
  claims: string,
  trans: TranslationBundle
): { remark: string; title: string } {
  switch (reason) {
    case 'two roles':
      return {
        remark: trans.__('%1: keep one', claims),
        title: trans.__('A cell has one role in the pipeline. Keep one of: %1', claims)
      };
    case 'no name':
      return {
        remark: trans.__('%1: name the step', claims),
        title: trans.__('Write the name of the step after: %1', claims)
      };
    case 'wrong name':
      return {
        remark: trans.__('%1: no name for a step', claims),
        title: trans.__('The name of a step has letters, digits, _, - and ., a letter first: %1', claims)
      };
    case 'after without step':
      return {
        remark: trans.__('%1: no step here', claims),
        title: trans.__('“after” orders steps. Make this cell a step, or remove it: %1', claims)
      };
  }
}
