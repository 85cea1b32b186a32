// The resources: text, bytes, one behind a template, and one to subscribe to. URIs and contents are
// those of the conformance suite; skills, which are resources too, are in `skills.mjs`.

import { PNG } from './samples.mjs';

export const RESOURCES = [
    {
        name: 'static-text',
        uri: 'test://static-text',
        about: { description: 'A text that never changes', mimeType: 'text/plain' },
        content: { text: 'This is the content of the static text resource.' },
    },
    {
        name: 'static-binary',
        uri: 'test://static-binary',
        about: { description: 'An image that never changes', mimeType: 'image/png' },
        content: { blob: PNG },
    },
    {
        name: 'watched-resource',
        uri: 'test://watched-resource',
        about: { description: 'A text to subscribe to', mimeType: 'text/plain' },
        content: { text: 'watch me' },
    },
];

export const TEMPLATE = {
    name: 'template',
    uri: 'test://template/{id}/data',
    about: { description: 'A record for every id', mimeType: 'application/json' },
    content: ({ id }) => ({ text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }),
};
