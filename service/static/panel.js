// The verdict, the scores and the facts of one result.

import { clock, score, text } from './texts.js';

const verdict = document.getElementById('verdict');
const scores = document.getElementById('scores');
const mark = document.getElementById('threshold-mark');

/** Say in words and shape what was found: 'good', 'bad', 'none' before anything was, 'error' where there is no verdict. */
function showVerdict(kind, word, reason) {
  verdict.dataset.verdict = kind;
  verdict.querySelector('use').setAttribute('href', `#${kind}`);
  document.getElementById('verdict-word').textContent = word;
  document.getElementById('verdict-reason').textContent = reason;
}

export function showNothing() {
  showVerdict('none', text('ready'), text('waiting'));
  showScores(null);
  showFacts([]);
}

/** While a picture is being scored: the verdict of the one before must not stand beside it. */
export function showChecking(name) {
  showVerdict('none', text('checking'), name);
  showScores(null);
  showFacts([]);
}

export function showError(title, detail) {
  showVerdict('error', text('noVerdict'), [title, detail].filter(Boolean).join(': '));
  showScores(null);
  showFacts([]);
}

export function showResult(result) {
  const { joint } = result.scores, { threshold } = result;
  const values = { joint: score(joint, threshold), threshold: score(threshold) };
  const kind = result.anomalous ? 'bad' : 'good';
  showVerdict(kind, text(kind), text('reason', values));
  showScores(result);
  showFacts([
    ['part', result.part],
    ['line', result.line],
    ['station', result.station === 'page' ? text('here') : result.station],
    ['model', `${result.model.name} ${result.model.version}`],
    ['time', clock(result.at)],
    ['size', text('pixels', result.image)],
    ['took', result.timing_ms && text('milliseconds', { value: Math.round(result.timing_ms.total) })],
  ]);
}

/** For those who hear the page: said of pictures that they sent themselves. */
export function announce() {
  const words = ['verdict-word', 'verdict-reason'].map((id) => document.getElementById(id).textContent);
  document.getElementById('announcement').textContent = words.join('. ');
}

function showScores(result) {
  scores.toggleAttribute('data-empty', !result);
  for (const row of scores.querySelectorAll('.score')) {
    const value = result?.scores[row.dataset.branch] ?? null;
    row.querySelector('output').textContent = value !== null ? score(value, result.threshold) : result ? text('absent') : '';
    row.querySelector('i').style.width = `${100 * (value ?? 0)}%`;
    row.toggleAttribute('data-over', value !== null && value >= result.threshold);
  }
  mark.hidden = !result;
  if (!result) return;
  scores.style.setProperty('--threshold', result.threshold);
  mark.querySelector('b').textContent = text('threshold', { value: score(result.threshold) });
  mark.toggleAttribute('data-right', result.threshold > 0.6);
}

function showFacts(facts) {
  const rows = facts.filter(([, value]) => value).map(([name, value]) => {
    const row = document.createElement('div');
    for (const [tag, content] of [['dt', text(name)], ['dd', value]]) {
      row.append(Object.assign(document.createElement(tag), { textContent: content }));
    }
    return row;
  });
  document.getElementById('facts').replaceChildren(...rows);
}
