import js from '@eslint/js';
import jupyter from '@jupyter/eslint-plugin';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  { ignores: ['lib/', 'style/', 'node_modules/', '*.mjs', '*.mts'] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  { plugins: { jupyter } },
  jupyter.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    languageOptions: {
      parserOptions: { project: './tsconfig.check.json', tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      curly: ['error', 'all'],
      eqeqeq: 'error',
      'prefer-arrow-callback': 'error',
      'max-len': ['error', { code: 120, ignoreUrls: true }],
      quotes: ['error', 'single', { avoidEscape: true }],
      semi: ['error', 'always'],
      'comma-dangle': ['error', 'never'],
      // Jupyter's habit: interfaces that tokens stand for begin with I; records are plain nouns as in records.py.
      '@typescript-eslint/naming-convention': [
        'error',
        { selector: 'typeLike', format: ['PascalCase'] },
        { selector: ['function', 'method'], format: ['camelCase'], leadingUnderscore: 'allow' }
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      // `signal.connect(this._method, this)` is how Lumino binds.
      '@typescript-eslint/unbound-method': 'off',
      // Numbers are what counts and lengths are; nobody gains by String(n).
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // innerHTML and its kind: what a notebook says is shown as text, never as markup.
      'no-restricted-properties': [
        'error',
        ...['innerHTML', 'outerHTML', 'insertAdjacentHTML'].map(property => ({
          property,
          message: 'Notebook text is set by textContent.'
        }))
      ]
    }
  },
  {
    files: ['**/*.spec.ts', '**/*.spec.tsx'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      'jupyter/require-disposable-ownership': 'off' // they go with the test
    }
  }
);
