// Masks as layers: a list of toggles with names, scores and opacities, and the words whose phrases light them up.

const COLORS = ["#ff4d4f", "#1fa2ff", "#35c759", "#ffb300", "#a259ff", "#00c7be", "#ff6fb5", "#8bc34a", "#ff7a1a", "#5b6cff"];
const OPACITY = 0.55;

// Layers in the order of a reply's data.
export async function makeLayers(data) {
  return Promise.all(data.map(async (entry, index) => {
    const color = COLORS[index % COLORS.length];
    return { entry, color, shown: true, opacity: OPACITY, tinted: await tinted(entry.mask, color) };
  }));
}

async function tinted(base64, color) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  for (let at = 0; at < pixels.data.length; at += 4) {
    const inside = pixels.data[at];
    pixels.data[at] = red;
    pixels.data[at + 1] = green;
    pixels.data[at + 2] = blue;
    pixels.data[at + 3] = inside;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const nameOf = (layer, index) => layer.entry.label || `mask ${index + 1}`;

export function listLayers(list, layers, stage) {
  list.replaceChildren(...layers.map((layer, index) => {
    const toggle = element("input", { type: "checkbox", checked: layer.shown });
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = layer.color;
    const name = element("span", { className: "name", textContent: nameOf(layer, index), title: nameOf(layer, index) });
    const score = element("span", { className: "score", textContent: layer.entry.score.toFixed(2) });
    const opacity = element("input", { type: "range", min: 0, max: 100, value: 100 * layer.opacity });
    opacity.setAttribute("aria-label", `Opacity of ${nameOf(layer, index)}`);
    toggle.addEventListener("change", () => { layer.shown = toggle.checked; stage.draw(); });
    opacity.addEventListener("input", () => { layer.opacity = opacity.value / 100; stage.draw(); });
    layer.toggle = toggle;
    layer.item = element("li", {}, element("label", {}, toggle, swatch, name, score), opacity);
    lights(layer.item, layer, stage);
    return layer.item;
  }));
}

export function showAll(layers, shown, stage) {
  for (const layer of layers) layer.shown = layer.toggle.checked = shown;
  stage.draw();
}

function lights(item, layer, stage) {
  const light = (lit) => {
    stage.lit = lit ? layer : null;
    for (const one of [layer.item, layer.word]) one?.classList.toggle("lit", lit);
    stage.draw();
  };
  item.addEventListener("pointerenter", () => light(true));
  item.addEventListener("pointerleave", () => light(false));
  item.addEventListener("focusin", (event) => { if (event.target.matches(":focus-visible")) light(true); });
  item.addEventListener("focusout", () => light(false));
}

// A caption whose phrases are buttons: each lights up its mask, and a click shows it alone, another one all.
export function writeCaption(place, caption, layers, stage) {
  const spans = layers.filter((layer) => layer.entry.caption_span)
    .sort((one, other) => one.entry.caption_span[0] - other.entry.caption_span[0]);
  const characters = [...caption]; // as the server counts them
  const parts = [];
  let at = 0;
  for (const layer of spans) {
    const [start, end] = layer.entry.caption_span;
    parts.push(characters.slice(at, start).join(""));
    const word = element("button", { type: "button", textContent: characters.slice(start, end).join("") });
    word.style.borderColor = layer.color;
    layer.word = word;
    lights(word, layer, stage);
    word.addEventListener("click", () => {
      const alone = layers.every((other) => other.shown === (other === layer));
      for (const other of layers) other.shown = other.toggle.checked = alone || other === layer;
      stage.draw();
    });
    parts.push(word);
    at = end;
  }
  parts.push(characters.slice(at).join(""));
  place.replaceChildren(...parts);
}

const STAGES = {
  waiting: "#9aa4b0", preprocess: "#5b8def", image_encoder: "#2f5fc4", llm: "#e8833a", mask_decoder: "#3aa76d",
  postprocess: "#8a63d2", other: "#c2a53a",
};

export function showTimes(bar, list, timings) {
  const { total, ...stages } = timings;
  const known = Object.values(stages).reduce((sum, value) => sum + value, 0);
  const parts = Object.entries({ ...stages, other: Math.max(0, total - known) });
  bar.replaceChildren(...parts.map(([stage, value]) => {
    const part = element("span", { title: `${stage} ${value.toFixed(1)} ms` });
    part.style.flex = `${Math.max(value, 0)} 0 0`;
    part.style.background = STAGES[stage] || STAGES.other;
    return part;
  }));
  const items = parts.map(([stage, value]) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = STAGES[stage] || STAGES.other;
    return element("li", {}, swatch, `${stage.replace("_", " ")} ${value.toFixed(1)} ms`);
  });
  list.replaceChildren(...items, element("li", {}, element("strong", { textContent: `total ${total.toFixed(1)} ms` })));
}
