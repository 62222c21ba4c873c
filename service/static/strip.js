// The last results as marks on a strip, by their overall score, and a threshold that may be tried on them.

import { flips } from './results.js';
import { score, text } from './texts.js';

const strip = document.getElementById('strip');
const canvas = document.getElementById('strip-canvas');
const slider = document.getElementById('what-if');
const reset = document.getElementById('what-if-reset');

let results = []; // newest first
let touched = false;

/** Show these results, newest first. */
export function showStrip(found) {
  results = found;
  document.getElementById('history').hidden = !found.length;
  draw();
}

const current = () => results[0]?.threshold ?? 0.5;

function draw() {
  if (!touched) slider.value = current();
  const tried = touched ? Number(slider.value) : current();
  const changed = flips(results, tried);
  slider.ariaLabel = text('whatIf');
  reset.hidden = !touched;
  say(tried, changed);

  const density = window.devicePixelRatio, width = strip.clientWidth - slider.offsetWidth, height = strip.clientHeight;
  if (width <= 0) return;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.width = `${width}px`;
  canvas.ariaLabel = text('strip', { all: results.length });
  const context = canvas.getContext('2d');
  context.scale(density, density);
  const colour = (name) => getComputedStyle(strip).getPropertyValue(name);
  // The thumb of the slider moves between half its size from either end: so do the marks.
  const margin = 11, y = (value) => margin + (1 - value) * (height - 2 * margin);
  const step = Math.max(5, Math.min(16, (width - 20) / Math.max(results.length, 1)));
  line(context, width, y(current()), colour('--ink'), []);
  if (touched) line(context, width, y(tried), colour('--accent'), [7, 5]);
  results.forEach((result, index) => {
    const x = width - 12 - index * step;
    if (x < 6) return;
    context.fillStyle = colour(result.anomalous ? '--bad' : '--good');
    context.beginPath();
    const size = Math.min(5, step / 2);
    if (result.anomalous) context.rect(x - size, y(result.scores.joint) - size, 2 * size, 2 * size);
    else context.arc(x, y(result.scores.joint), size, 0, 7);
    context.fill();
    if (!changed.ids.has(result.id)) return;
    context.strokeStyle = colour('--accent');
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(x, y(result.scores.joint), size + 5, 0, 7);
    context.stroke();
  });
}

function line(context, width, y, colour, dashes) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(dashes);
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.setLineDash([]);
}

function say(tried, { toGood, toBad }) {
  const values = { value: score(tried), all: results.length, count: toGood + toBad };
  document.getElementById('what-if-now').textContent = text('whatIfNow', { value: score(current()) });
  document.getElementById('what-if-flips').textContent = !touched
    ? text('whatIfSame')
    : toGood + toBad
      ? `${text('whatIfFlips', values)} (${text('whatIfKinds', { good: toGood, bad: toBad })})`
      : text('whatIfNone', values);
}

slider.addEventListener('input', () => {
  touched = true;
  draw();
});
reset.addEventListener('click', () => {
  touched = false;
  draw();
});
new ResizeObserver(draw).observe(strip);
