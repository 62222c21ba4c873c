// The page: what happens when a result arrives, a picture is given, or a key is pressed.

import { cameraRuns, labelCamera, stopCamera, takePicture, toggleCamera } from './camera.js';
import { bindIntake } from './intake.js';
import { askKey, bindKeyDialog } from './key_dialog.js';
import { bindKeys, describeKeys } from './keyboard.js';
import { announce, showChecking, showError, showNothing, showResult } from './panel.js';
import { Results } from './results.js';
import { key, listen, models, scorePicture, sendFeedback } from './service.js';
import { chooseLanguage, currentLanguage, text, translate } from './texts.js';
import { showPicture, toggleHeat } from './viewer.js';
import { forgetTiles, heatOf, revealTile, showWall, smallPicture } from './wall.js';
import { showStrip } from './strip.js';

const DEFECT_STAYS_MS = 2000; // on the stage while the line runs on

const element = (id) => document.getElementById(id);
const results = new Results();
const page = { chosen: null, following: true, paused: null, holdUntil: 0, afterHold: null, archive: false, connection: 'connecting', failed: null, drawing: false };
let stopListening = () => {};

const wanted = () => ({ model: element('filter-model').value, line: element('filter-line').value, verdict: element('filter-verdict').value });
const shownResults = () => {
  const list = results.list(wanted());
  return page.paused === null ? list : list.filter((result) => page.paused.has(result.id));
};

/** Draw the wall soon; many results in one frame are drawn once. */
function refresh() {
  if (page.drawing) return;
  page.drawing = true;
  requestAnimationFrame(() => {
    page.drawing = false;
    const list = shownResults();
    showWall(list, page.chosen, choose);
    showStrip(results.list({ ...wanted(), verdict: '' }).filter((result) => page.paused?.has(result.id) ?? true));
    element('counts').textContent = list.length ? text('counts', { bad: list.filter((result) => result.anomalous).length, all: list.length }) : '';
    fillFilter('filter-model', results.names((result) => result.model.name));
    fillFilter('filter-line', results.names((result) => result.line ?? result.station), (name) => (name === 'page' ? text('here') : name));
    showPause();
  });
}

function fillFilter(id, names, shownAs = (name) => name) {
  const select = element(id), { value } = select;
  if ([...select.options].slice(1).map((option) => option.value).join() === names.join() && select.options.length) return;
  select.parentElement.hidden = names.length < 2;
  select.replaceChildren(new Option(text('all'), ''), ...names.map((name) => new Option(shownAs(name), name)));
  select.value = names.includes(value) ? value : '';
}

function showPause() {
  const waiting = page.paused === null ? 0 : results.list(wanted()).filter((result) => !page.paused.has(result.id)).length;
  element('pause').textContent = page.paused === null ? text('pause') : waiting ? text('resumeNew', { count: waiting }) : text('resume');
  element('pause').setAttribute('aria-pressed', String(page.paused !== null));
}

/** Put a result on the stage. */
async function show(result) {
  page.chosen = result.id;
  page.failed = null;
  showResult(result);
  showFeedback(result);
  const [picture, heat] = await Promise.all([smallPicture(result), heatOf(result)]);
  if (page.chosen !== result.id) return; // another one came meanwhile
  showPicture(picture, heat, { marked: result.anomalous, missing: true, aspect: result.image.width / result.image.height });
}

function choose(id) {
  follow(false);
  closeCamera();
  show(results.get(id));
  refresh();
}

function follow(on) {
  page.following = on;
  element('follow').setAttribute('aria-pressed', String(on));
  const [newest] = shownResults();
  if (on && newest) show(newest);
  refresh();
}

const follows = () => page.following && page.paused === null && !cameraRuns();

/** A new result goes on the stage, unless a defect has not been there for long enough: then the newest follows it. */
function arrived(result) {
  const isNew = results.add(result);
  refresh();
  if (isNew && page.chosen === result.id) show(results.get(result.id)); // what is labelled now is the newer one
  const left = page.holdUntil - Date.now();
  if (!follows() || results.list(wanted())[0]?.id !== result.id) return;
  if (result.anomalous || left <= 0) {
    page.holdUntil = result.anomalous ? Date.now() + DEFECT_STAYS_MS : 0;
    show(results.get(result.id));
  } else {
    page.afterHold ??= setTimeout(() => {
      page.afterHold = null;
      if (follows()) follow(true);
    }, left);
  }
}

/** Score pictures that somebody gave, one after the other, so that each is seen. */
async function check(blobs) {
  follow(false);
  element('busy').hidden = false;
  for (const blob of blobs) await checkOne(blob);
  element('busy').hidden = true;
}

async function checkOne(blob) {
  const picture = await createImageBitmap(blob).catch(() => null); // the service reads more formats than browsers do
  page.chosen = null;
  showChecking(blob.name ?? '');
  showFeedback(null);
  showPicture(picture, null);
  try {
    const answer = await scorePicture(blob, { model: element('model').value, map: Boolean(picture) });
    const own = picture ? { picture, heatmap: answer.heatmap?.data } : { picture: await drawnByService(answer), heatmap: null };
    results.add({ ...answer, heatmap: null, line: null, station: 'page', part: blob.name ?? null });
    const result = results.get(answer.id);
    Object.assign(result, { own, timing_ms: answer.timing_ms, part: blob.name ?? null });
    await show(result);
  } catch (error) {
    page.failed = error;
    showError(error.status === 0 ? text('unreachable') : error.title, error.detail ?? error.message);
    if (error.status === 401) askKey();
  }
  announce();
  refresh();
}

async function drawnByService({ heatmap }) {
  return heatmap ? createImageBitmap(await new Response(Uint8Array.from(atob(heatmap.data), (c) => c.charCodeAt(0))).blob()) : null;
}

function showFeedback(result) {
  element('feedback').hidden = !result || !page.archive;
  for (const button of element('feedback').querySelectorAll('button')) {
    button.setAttribute('aria-pressed', String(result?.feedback === button.dataset.label));
  }
  element('feedback-note').textContent = result?.feedback ? text('thanks') : '';
}

async function label(kind) {
  const result = results.get(page.chosen);
  if (!result || !page.archive) return;
  follow(false);
  try {
    await sendFeedback(result.id, kind);
    result.feedback = kind;
    showFeedback(result);
  } catch (error) {
    element('feedback-note').textContent = error.detail || text('unreachable');
  }
  refresh();
}

async function camera() {
  try {
    await toggleCamera();
    if (cameraRuns()) follow(false);
    element('view').toggleAttribute('data-camera', cameraRuns());
  } catch (error) {
    showError('', error.message);
  }
}

function closeCamera() {
  if (cameraRuns()) stopCamera();
  element('view').removeAttribute('data-camera');
}

async function shoot() {
  if (!cameraRuns()) return;
  const picture = await takePicture();
  closeCamera();
  await check([picture]);
}

function pause() {
  page.paused = page.paused === null ? new Set(results.list().map((result) => result.id)) : null;
  refresh();
  if (page.following) follow(true);
}

/** The next newer (-1) or older (1) result. */
function move(by) {
  const list = shownResults();
  const at = list.findIndex((result) => result.id === page.chosen) + by;
  if (list[at]) {
    choose(list[at].id);
    requestAnimationFrame(() => revealTile(list[at].id));
  }
}

function connect() {
  stopListening();
  stopListening = listen({
    service: ({ archive }) => {
      page.archive = archive;
      showFeedback(results.get(page.chosen) ?? null);
    },
    earlier: (result) => {
      results.add(result);
      refresh();
    },
    result: arrived,
    state: showConnection,
  });
  models().then(fillModels, (error) => error.status === 401 && askKey());
}

function fillModels(list) {
  const served = list.filter((model) => model.versions.some((version) => ['ready', 'on_demand'].includes(version.state)));
  element('model').replaceChildren(...served.map((model) => new Option(model.name, model.name, model.default, model.default)));
  element('model-label').hidden = served.length < 2;
}

function showConnection(state) {
  page.connection = state;
  element('connection').dataset.state = state;
  element('connection').querySelector('b').textContent = text(state);
  element('key-button').hidden = state !== 'locked' && !key();
}

const shortcuts = {
  o: ['keyOpen', () => element('files').click()],
  c: ['keyCamera', camera],
  Enter: ['keyShoot', shoot],
  ArrowLeft: ['keyNewer', () => move(-1)],
  ArrowRight: ['keyOlder', () => move(1)],
  ' ': ['keyPause', pause],
  f: ['keyFollow', () => follow(!page.following)],
  h: ['keyHeat', toggleHeat],
  g: ['keyGood', () => label('good')],
  b: ['keyBad', () => label('bad')],
  '?': ['keyboard', () => element('help-dialog').showModal()],
};
/** Everything that holds a text, in the chosen language. */
function showTexts() {
  translate();
  labelCamera();
  describeKeys(shortcuts);
  element('canvas').ariaLabel = text('view');
  forgetTiles();
  for (const id of ['filter-model', 'filter-line']) element(id).replaceChildren();
  showConnection(page.connection);
  const result = results.get(page.chosen);
  if (result) show(result);
  else if (page.failed) showError(page.failed.status === 0 ? text('unreachable') : page.failed.title, page.failed.detail);
  else showNothing();
  refresh();
}

bindIntake(check);
bindKeys(shortcuts);
element('camera').addEventListener('click', camera);
element('shoot').addEventListener('click', shoot);
element('follow').addEventListener('click', () => follow(!page.following));
element('pause').addEventListener('click', pause);
for (const id of ['filter-model', 'filter-line', 'filter-verdict']) element(id).addEventListener('change', refresh);
for (const button of element('feedback').querySelectorAll('button')) button.addEventListener('click', () => label(button.dataset.label));
element('language').value = currentLanguage();
element('language').addEventListener('change', ({ target }) => {
  chooseLanguage(target.value);
  showTexts();
});
element('help-button').addEventListener('click', () => element('help-dialog').showModal());
bindKeyDialog(connect);

showTexts();
connect();
