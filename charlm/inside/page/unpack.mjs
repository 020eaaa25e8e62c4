// Unpacks what Python packed with gzip and base64.

export async function unpacked(letters) {
  const packed = Uint8Array.from(atob(letters), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
