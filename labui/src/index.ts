/** Wiring, and nothing but wiring. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

// eslint-disable-next-line jupyter/prefer-lazy-imports -- small, and the first notebook needs it at once
import { Decorations } from './decorations';
import { DOMAIN, PLUGIN_ID } from './tokens';

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'Shows above each tagged cell which step of the pipeline it belongs to.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ITranslator],
  activate: (_app: JupyterFrontEnd, notebooks: INotebookTracker, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    notebooks.forEach(panel => new Decorations(panel, trans));
    notebooks.widgetAdded.connect((_tracker, panel) => new Decorations(panel, trans));
  }
};

export default plugin;
