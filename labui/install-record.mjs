// Last step of the bundle's build. JupyterLab reads `install.json` beside a bundle to say which package it came with. It is
// copied, not listed in the wheel's shared data: with a `jupyter-builder develop` link in place, pip writes its own
// through the link into the bundle's folder, and the next wheel would then hold the same path twice.
import { copyFileSync } from 'node:fs';

copyFileSync(
  new URL('install.json', import.meta.url),
  new URL('../extension/cellway/labextension/install.json', import.meta.url)
);
