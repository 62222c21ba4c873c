// The PC's own camera.

import { text } from './texts.js';

const video = document.getElementById('video');
const button = document.getElementById('camera');
const shutter = document.getElementById('shoot');

let stream = null;

export const cameraRuns = () => stream !== null;

export function labelCamera() {
  button.textContent = text(stream ? 'stopCamera' : 'camera');
}

function show() {
  video.hidden = !stream;
  shutter.hidden = true; // until there is something to see
  labelCamera();
}

/** Start the camera, or stop it; rejects with a reason to show. */
export async function toggleCamera() {
  if (stream) {
    stopCamera();
    return;
  }
  if (!navigator.mediaDevices) throw new Error(text('noCamera', { reason: text('insecure') }));
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: 'environment' } });
  } catch (error) {
    throw new Error(text('noCamera', { reason: error.message }), { cause: error });
  }
  video.srcObject = stream;
  show();
  await video.play();
  shutter.hidden = !stream;
}

export function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  show();
}

/** What the camera sees, as a PNG: no compression that the model has not seen. */
export async function takePicture() {
  const still = Object.assign(document.createElement('canvas'), { width: video.videoWidth, height: video.videoHeight });
  still.getContext('2d').drawImage(video, 0, 0);
  return new Promise((resolve) => still.toBlob(resolve, 'image/png'));
}
