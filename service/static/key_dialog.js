// The dialog that asks for an API key.

import { key, setKey } from './service.js';

const element = (id) => document.getElementById(id);

/** Ask for a key; one that is there already was refused. */
export function askKey() {
  element('key-wrong').hidden = !key();
  element('key-dialog').showModal();
}

/** Let `saved` be called once a key is given. */
export function bindKeyDialog(saved) {
  element('key-button').addEventListener('click', askKey);
  element('key-cancel').addEventListener('click', () => element('key-dialog').close('cancel'));
  element('key-dialog').addEventListener('close', ({ target }) => {
    if (target.returnValue === 'save') {
      setKey(element('key').value.trim());
      saved();
    }
    element('key').value = '';
  });
}
