// The page's worker: unpacks the model, then hands every question to a session.

import { Session } from "./session.mjs";
import { unpacked } from "./unpack.mjs";

const session = new Session((message) => self.postMessage(message));

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
