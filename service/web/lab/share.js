// Addresses that have the state: of the page, and of the page in a frame of another one.

const escaped = { "&": "&amp;", '"': "&quot;", "<": "&lt;" };

/** The address of the service. */
export const base = () => new URL(".", document.baseURI).href;

/** True in a page without header, tour and footer, which another one may frame. */
export const isEmbedded = () => document.body.classList.contains("embedded");

/** True if the server allows some other pages to frame this one. */
export const isEmbeddable = () => "embeddable" in document.body.dataset;

/** The address of the complete page with its state. */
export const pageLink = () => base() + location.hash;

/** HTML for another page, which frames this one with its state. */
export function embedCode(state) {
  const address = `${base()}?embed=1${location.hash}`.replace(/[&"<]/g, (sign) => escaped[sign]);
  return `<iframe src="${address}" title="Tensor lab: ${state.op}" width="100%" height="640" loading="lazy" allow="clipboard-write"></iframe>\n`;
}
