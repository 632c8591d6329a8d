// A picture of the camera.

import {$} from './dom.js';

/** A blob of what the camera saw when it was told to; null for none. */
export async function shoot() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: true});
  } catch (error) {
    throw new Error(!globalThis.isSecureContext ?
      'Browsers give the camera to pages of https, or of this machine, alone.' :
      error.name === 'NotAllowedError' ?
        'The camera may not be used: allow it in the browser.' :
        'There is no camera that can be used.');
  }
  const dialog = $('dialog'), video = $('video');
  try {
    video.srcObject = stream;
    const wanted = asked(dialog);
    dialog.showModal();
    await video.play();
    if (!await wanted) return null;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext('2d').drawImage(video, 0, 0);
    return await canvas.convertToBlob({type: 'image/png'});
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
    dialog.close();
  }
}

function asked(dialog) {
  return new Promise(done => {
    $('shoot').onclick = () => done(true);
    $('cancel').onclick = dialog.oncancel = () => done(false);
  });
}
