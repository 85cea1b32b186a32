// Lets the modules here import packages that are installed in target/parts, not beside them: `node --import ./installed.mjs`.
// LLAMAPOOL_PARTS is their folder, as for the tests.

import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const HERE = new URL('.', import.meta.url).href;
const parts = process.env.LLAMAPOOL_PARTS ?? join(import.meta.dirname, '../../../target/parts');
const installed = pathToFileURL(join(parts, 'conformance', 'package.json')).href;

registerHooks({
    resolve(specifier, context, next) {
        const package_ = context.parentURL?.startsWith(HERE) && /^[@a-z]/.test(specifier) && !specifier.startsWith('node:');
        return next(specifier, package_ ? { ...context, parentURL: installed } : context);
    },
});
