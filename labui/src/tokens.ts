/** The names JupyterLab knows cellway by. */

/** The plugin, `<npm package>:<schema file>` as settings and `jupyter labextension` want it. */
export const PLUGIN_ID = 'cellway:plugin';

/** The translation domain. */
export const DOMAIN = 'cellway';
