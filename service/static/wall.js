// The wall: a tile for each of the last results, newest first.

import { bytesOf, decodeHeat } from './heat.js';
import { clock, score, text } from './texts.js';

const MAX_TILES = 60;
const HEAT_OPACITY = 0.6;
const SVG = 'http://www.w3.org/2000/svg';

const wall = document.getElementById('wall');
const tiles = new Map(); // by id

/** Show these results, newest first; what is there already stays. `choose` is called with the id of a tile that was clicked. */
export function showWall(results, chosen, choose) {
  const wanted = results.slice(0, MAX_TILES);
  const shown = new Map(wanted.map((result) => [result.id, result]));
  for (const [id, tile] of tiles) {
    if (shown.get(id) !== tile.result) {
      tile.remove();
      tiles.delete(id);
    }
  }
  wanted.forEach((result, index) => {
    let tile = tiles.get(result.id);
    if (!tile) tiles.set(result.id, (tile = newTile(result, choose)));
    if (wall.children[index] !== tile) wall.insertBefore(tile, wall.children[index] ?? null);
    const button = tile.firstElementChild;
    button.setAttribute('aria-current', String(result.id === chosen));
    tile.dataset.feedback = result.feedback ?? '';
  });
  document.getElementById('wall-empty').hidden = wanted.length > 0;
}

/** Make every tile anew, in another language. */
export function forgetTiles() {
  tiles.clear();
  wall.replaceChildren();
}

export const revealTile = (id) => tiles.get(id)?.scrollIntoView({ block: 'nearest', inline: 'nearest' });

function newTile(result, choose) {
  const kind = result.anomalous ? 'bad' : 'good';
  const tile = Object.assign(document.createElement('li'), { result });
  const button = document.createElement('button');
  tile.dataset.verdict = kind;
  tile.toggleAttribute('data-plain', !result.picture && !result.own);
  button.type = 'button';
  const label = result.part ?? clock(result.at);
  button.ariaLabel = [text(kind), score(result.scores.joint), result.part, clock(result.at)].filter(Boolean).join(', ');
  button.title = [result.model.name, result.line, result.station].filter(Boolean).join(' · ');
  button.append(newPicture(result), symbol(kind), newText('b', score(result.scores.joint, result.threshold)), newText('span', label));
  button.addEventListener('click', () => choose(result.id));
  tile.append(button);
  return tile;
}

function newText(tag, content) {
  return Object.assign(document.createElement(tag), { textContent: content });
}

function symbol(kind) {
  const svg = document.createElementNS(SVG, 'svg'), use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#${kind}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

function newPicture(result) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 160, height: 120 });
  draw(canvas, result).catch((error) => console.warn('no picture on the wall', error));
  return canvas;
}

async function draw(canvas, result) {
  const picture = await smallPicture(result);
  if (!picture) return;
  const context = canvas.getContext('2d');
  const scale = Math.max(canvas.width / result.image.width, canvas.height / result.image.height);
  const [w, h] = [result.image.width * scale, result.image.height * scale];
  const place = [(canvas.width - w) / 2, (canvas.height - h) / 2, w, h];
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, ...place);
  const heat = result.anomalous ? await heatOf(result) : null;
  if (!heat) return;
  context.globalAlpha = HEAT_OPACITY;
  context.drawImage(heat.canvas, ...place);
}

/** The picture of a result, as good as there is one; null if there is none. */
export async function smallPicture(result) {
  if (result.own?.picture) return result.own.picture;
  return result.picture ? createImageBitmap(new Blob([bytesOf(result.picture)], { type: 'image/jpeg' })) : null;
}

/** The decoded heatmap of a result; null if there is none. */
export async function heatOf(result) {
  const encoded = result.own?.heatmap ?? result.heatmap;
  return encoded ? decodeHeat(encoded) : null;
}
