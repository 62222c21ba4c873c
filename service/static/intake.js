// The ways in which somebody gives pictures: the file dialog, a drop, the clipboard.

const element = (id) => document.getElementById(id);
const pictures = (list) => [...list].filter((file) => file.type.startsWith('image/') || /\.tiff?$/i.test(file.name));

/** Let `check` be called with the files. */
export function bindIntake(check) {
  element('open').addEventListener('click', () => element('files').click());
  element('files').addEventListener('change', ({ target }) => {
    check([...target.files]);
    target.value = '';
  });
  for (const name of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      element('view').toggleAttribute('data-dropping', name !== 'drop' && (name !== 'dragleave' || event.relatedTarget !== null));
      if (name === 'drop') check([...event.dataTransfer.files]);
    });
  }
  document.addEventListener('paste', ({ clipboardData }) => {
    const found = pictures(clipboardData.files);
    if (found.length) check(found);
  });
}
