// What a page plays, when the page is not ours to change: for `addInitScript`.

/** Keeps what the page plays, so that a test can listen too: `window.heard()`. */
export function overhear() {
  const source = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "srcObject");
  Object.defineProperty(HTMLMediaElement.prototype, "srcObject", {
    ...source,
    set(stream) {
      source.set.call(this, stream);
      if (!stream?.getAudioTracks().length) return;
      const context = (window.earContext ??= new AudioContext());
      window.ear = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
      new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(window.ear);
    },
  });
  window.heard = () => {
    if (!window.ear) return null;
    const bins = new Float32Array(window.ear.frequencyBinCount);
    window.ear.getFloatFrequencyData(bins);
    const best = bins.indexOf(Math.max(...bins));
    return { frequency: (best * window.earContext.sampleRate) / window.ear.fftSize, level: bins[best] };
  };
}
