// The service's heatmaps: palette PNGs whose index is round(255 · probability).

export const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** Decode a palette PNG: the probability of each pixel, 0 to 255, and a canvas of its colours, as opaque as they are probable. */
export async function decodeHeat(base64) {
  const bytes = bytesOf(base64);
  const palette = paletteOf(bytes);
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }), { colorSpaceConversion: 'none' });
  const { width, height } = bitmap;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, width, height);
  const values = new Uint8Array(width * height);
  let hottest = 0, anomalous = 0;
  for (let i = 0; i < values.length; i++) {
    const [r, g, b] = pixels.data.subarray(4 * i, 4 * i + 3);
    values[i] = palette.get((r << 16) | (g << 8) | b) ?? 0;
    pixels.data[4 * i + 3] = values[i];
    if (values[i] > values[hottest]) hottest = i;
    if (values[i] > 127) anomalous++;
  }
  context.putImageData(pixels, 0, 0);
  return { width, height, values, canvas, share: anomalous / values.length, hottest: { x: ((hottest % width) + 0.5) / width, y: (Math.floor(hottest / width) + 0.5) / height, value: values[hottest] / 255 } };
}

/** Probability at a point given in shares of width and height. */
export function valueAt(heat, x, y) {
  const column = Math.min(heat.width - 1, Math.floor(x * heat.width));
  const row = Math.min(heat.height - 1, Math.floor(y * heat.height));
  return heat.values[row * heat.width + column] / 255;
}

/** Colour → index, from the PNG's own PLTE chunk. */
function paletteOf(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at < bytes.length; at += 12 + view.getUint32(at)) {
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) !== 'PLTE') continue;
    const colours = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    return new Map(Array.from({ length: colours.length / 3 }, (_, i) => [(colours[3 * i] << 16) | (colours[3 * i + 1] << 8) | colours[3 * i + 2], i]));
  }
  throw new Error('a heatmap without a palette');
}
