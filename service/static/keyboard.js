// Shortcuts: { key: [name of the text that tells what it does, what it does] }.

import { text } from './texts.js';

const NAMES = { ArrowLeft: '←', ArrowRight: '→', ' ': '␣', Enter: '⏎' };

/** Whether a control that has the focus does something with a key itself. */
const hasUseFor = (control, key) =>
  control.matches('select, input[type=password]') ||
  (control.matches('button') && [' ', 'Enter'].includes(key)) ||
  (control.matches('input') && key.startsWith('Arrow'));

export function bindKeys(shortcuts) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') || hasUseFor(event.target, event.key)) return;
    const shortcut = shortcuts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!shortcut) return;
    event.preventDefault();
    shortcut[1]();
  });
}

/** List the shortcuts in the dialog that tells of them. */
export function describeKeys(shortcuts) {
  const rows = Object.entries(shortcuts).map(([name, [what]]) => {
    const row = document.createElement('div'), term = document.createElement('dt');
    term.append(Object.assign(document.createElement('kbd'), { textContent: NAMES[name] ?? name.toUpperCase() }));
    row.append(term, Object.assign(document.createElement('dd'), { textContent: text(what) }));
    return row;
  });
  document.getElementById('shortcuts').replaceChildren(...rows);
}
