// The picture on its canvas: heat above it, a ring where it is hottest, the value under a click.

import { valueAt } from './heat.js';
import { score } from './texts.js';

const A_SPOT = 0.2; // of the picture: where more is hot, a ring around one point would mislead

const view = document.getElementById('view');
const canvas = document.getElementById('canvas');
const probe = document.getElementById('probe');
const opacity = document.getElementById('opacity');

let shown = { picture: null, heat: null, marked: false, aspect: 1 };
let point = null; // in shares of width and height

/**
 * Show a picture (or null), its heat (or null), with a ring around the hottest point if `marked`. `aspect` is width / height;
 * `missing` says that there was a picture once.
 */
export function showPicture(picture, heat, { marked = false, missing = false, aspect = picture ? picture.width / picture.height : 1 } = {}) {
  shown = { picture, heat, marked, aspect };
  point = null;
  view.toggleAttribute('data-filled', Boolean(picture));
  view.toggleAttribute('data-missing', !picture && missing);
  opacity.disabled = !heat;
  draw();
}

export function toggleHeat() {
  const last = opacity.dataset.last ?? '60';
  if (opacity.value !== '0') opacity.dataset.last = opacity.value;
  opacity.value = opacity.value === '0' ? last : '0';
  draw();
}

/** Where the picture lies on the canvas, in CSS pixels. */
function frame() {
  const margin = 16, width = view.clientWidth - 2 * margin, height = view.clientHeight - 2 * margin;
  const scale = Math.min(width / shown.aspect, height);
  const [w, h] = [scale * shown.aspect, scale];
  return { x: margin + (width - w) / 2, y: margin + (height - h) / 2, w, h };
}

function draw() {
  const density = window.devicePixelRatio;
  canvas.width = Math.round(view.clientWidth * density);
  canvas.height = Math.round(view.clientHeight * density);
  const context = canvas.getContext('2d');
  probe.hidden = true;
  if (!shown.picture) return;
  context.scale(density, density);
  context.imageSmoothingQuality = 'high';
  const { x, y, w, h } = frame();
  context.drawImage(shown.picture, x, y, w, h);
  if (!shown.heat) return;
  context.globalAlpha = opacity.value / 100;
  context.drawImage(shown.heat.canvas, x, y, w, h);
  context.globalAlpha = 1;
  const { hottest, share } = shown.heat;
  if (point) mark(context, point, valueAt(shown.heat, point.x, point.y), '');
  else if (shown.marked && hottest.value >= 0.5 && share < A_SPOT) mark(context, hottest, hottest.value, 'ring');
}

/** A ring, or a cross, that shows on any picture, and its value beside it. */
function mark(context, { x, y }, value, kind) {
  const box = frame(), left = box.x + x * box.w, top = box.y + y * box.h, radius = kind ? Math.max(18, box.h / 14) : 9;
  for (const [colour, width] of [['#10171e', 6], ['#fff', 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    if (kind) context.arc(left, top, radius, 0, 7);
    else for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(left + 3 * dx, top + 3 * dy);
      context.lineTo(left + radius * 2 * dx, top + radius * 2 * dy);
    }
    context.stroke();
  }
  probe.hidden = false;
  probe.textContent = score(value);
  const right = left + radius + 10 + 70 < view.clientWidth;
  probe.style.left = `${right ? left + radius + 10 : left - radius - 10}px`;
  probe.style.top = `${top}px`;
  probe.dataset.side = right ? 'right' : 'left';
}

canvas.addEventListener('click', ({ offsetX, offsetY }) => {
  if (!shown.heat) return;
  const { x, y, w, h } = frame();
  const at = { x: (offsetX - x) / w, y: (offsetY - y) / h };
  point = at.x >= 0 && at.x < 1 && at.y >= 0 && at.y < 1 ? at : null;
  draw();
});
opacity.addEventListener('input', draw);
new ResizeObserver(draw).observe(view);
