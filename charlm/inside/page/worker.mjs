// The page's worker: unpacks the model, then hands every question to a session.

import { Session } from "./session.mjs";

const session = new Session((message) => self.postMessage(message));

async function unpacked(letters) {
  const packed = Uint8Array.from(atob(letters), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

self.onmessage = async ({ data }) => {
  if (data.type !== "open") return session.answer(data);
  try {
    const buffer = await unpacked(data.weights);
    const product = typeof WebAssembly === "object" ? await unpacked(data.product) : null;
    session.answer({ ...data, buffer, product });
  } catch (error) {
    self.postMessage({ type: "failed", id: data.id, message: String(error.message) });
  }
};
