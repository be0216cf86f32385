// The page: a picture, a question, an answer.

import { chat, curl, models, segment, token } from "./api.js";
import { listLayers, makeLayers, showAll, showTimes, writeCaption } from "./layers.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const HELP = {
  box: "Draw a box, or move with the arrow keys and set two corners with Enter.",
  point: "Click a point, or move with the arrow keys and press Enter.",
  brush: "Paint over it, or move with the arrow keys and press Enter.",
};

let picture = null; // {file, bitmap, scene}
let layers = [];
let last = null; // {reply, path, fields, json}
let busy = false;
let camera = null;

const stage = new Stage($("canvas"), () => {
  const count = { box: 0, point: 0, stroke: 0 };
  for (const { kind } of stage.marks) count[kind] += 1;
  const told = [["box", "boxes"], ["point", "points"], ["stroke", "strokes"]]
    .filter(([kind]) => count[kind]).map(([kind, many]) => `${count[kind]} ${count[kind] === 1 ? kind : many}`);
  $("regions").textContent = told.length ? `${told.join(", ")}.` : "Nothing is marked yet.";
});

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

const task = () => document.querySelector("input[name=task]:checked").value;
const tool = () => document.querySelector("input[name=tool]:checked").value;

function arrange() {
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(task());
  const drawing = task() === "regions";
  stage.setTool(drawing ? tool() : null);
  $("canvas-help").hidden = !drawing;
  $("canvas-help").textContent = HELP[tool()];
  $("size").disabled = tool() !== "brush";
}

function setBusy(now) {
  busy = now;
  $("go").disabled = busy || !picture;
  $("go").setAttribute("aria-busy", String(busy));
}

async function take(file) {
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    picture = { file, bitmap, scene: null };
  } catch {
    say(`${file.name || "This"} is not a picture that the browser reads.`, true);
    return;
  }
  stage.show(picture.bitmap);
  $("canvas").setAttribute("aria-label", `The picture ${file.name || ""}`);
  $("picture-name").textContent = `${file.name || "picture"} · ${picture.bitmap.width} × ${picture.bitmap.height}`;
  forget();
  see("stage");
  say("");
  setBusy(false);
}

function see(part) {
  for (const name of ["drop", "stage", "camera"]) $(name).hidden = name !== part;
  $("picture-bar").hidden = part !== "stage";
}

function forget() {
  last = null;
  layers = stage.layers = [];
  $("answer").hidden = true;
  stage.draw();
}

async function fields() {
  const given = [["task", task()]];
  const add = (name, value) => { if (value) given.push([name, value]); };
  if (task() === "refer") for (const line of $("phrase").value.split("\n")) add("prompt", line.trim());
  if (task() === "reason") add("prompt", $("sentence").value.trim());
  if (task() === "categories") for (const name of ["things", "stuff"]) add(name, $(name).value.trim().replace(/^,+|,+$/g, ""));
  if (task() === "regions") {
    if (stage.boxes().length) add("boxes", JSON.stringify(stage.boxes()));
    if (stage.points().length) add("points", JSON.stringify(stage.points()));
    add("masks", await stage.mask());
    if ($("similar").checked) add("similar", "true");
  }
  if (["refer", "reason"].includes(task()) && $("several").checked) add("several", "true");
  add("threshold", $("threshold").value.trim());
  return given;
}

async function ask() {
  if (!picture || busy) return;
  setBusy(true);
  say("Asking…");
  try {
    if (task() === "chat") await askInWords();
    else await askForMasks();
    say(last.reply.cached ? "The picture was kept: the encoder was skipped." : "");
  } catch (error) {
    say(error.message, true);
    if (error.status === 401) { $("token-box").open = true; $("token").focus(); }
  } finally {
    setBusy(false);
  }
}

async function askForMasks() {
  const given = await fields();
  const reply = await segment(picture, given);
  last = { reply, path: "/v1/images/segmentations", fields: given };
  layers = await makeLayers(reply.data);
  stage.layers = layers;
  stage.lit = null;
  listLayers($("layers"), layers, stage);
  $("layers-box").hidden = !layers.length;
  if (reply.task === "caption") writeCaption($("words"), reply.results[0].caption, layers, stage);
  else {
    const missing = reply.results.filter(({ found }) => !found);
    $("words").textContent = missing.map(({ prompt, reason }) =>
      `${prompt ? `“${prompt}”` : "It"} was not found${reason ? `: ${reason}` : ""}.`).join(" ");
  }
  finish();
}

async function askInWords() {
  const text = $("message").value.trim();
  forget();
  $("layers-box").hidden = true;
  $("words").textContent = "";
  const reply = await chat(picture, text, (said) => { $("answer").hidden = false; $("words").textContent = said; });
  last = { reply, path: "/v1/chat/completions", fields: [], json: { text } };
  finish();
}

function finish() {
  showTimes($("bar"), $("times"), last.reply.timings_ms);
  $("answer").hidden = false;
  stage.draw();
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} was copied.`);
  } catch {
    say("The browser does not let this page copy; it does at https:// and on localhost.", true);
  }
}

async function startCamera() {
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = camera;
    await $("video").play();
    see("camera");
  } catch (error) {
    say(navigator.mediaDevices ? `No camera: ${error.message}` : "Cameras work at https:// and on localhost.", true);
  }
}

function stopCamera() {
  for (const track of camera?.getTracks() || []) track.stop();
  camera = null;
}

async function shoot() {
  const video = $("video");
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  stopCamera();
  take(new File([blob], "webcam.jpg", { type: "image/jpeg" }));
}

function save() {
  const canvas = document.createElement("canvas");
  canvas.width = picture.bitmap.width;
  canvas.height = picture.bitmap.height;
  stage.paint(canvas);
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "masks.png";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

for (const input of document.querySelectorAll("input[name=task], input[name=tool]")) input.addEventListener("change", arrange);
$("file").addEventListener("change", () => { take($("file").files[0]); $("file").value = ""; });
$("another").addEventListener("click", () => { see("drop"); $("file").focus(); });
$("webcam").addEventListener("click", startCamera);
$("camera-off").addEventListener("click", () => { stopCamera(); see(picture ? "stage" : "drop"); });
$("shoot").addEventListener("click", shoot);
$("undo").addEventListener("click", () => stage.undo());
$("clear").addEventListener("click", () => stage.clear());
$("size").addEventListener("input", () => { stage.brush = Number($("size").value); });
$("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
$("all").addEventListener("click", () => showAll(layers, true, stage));
$("none").addEventListener("click", () => showAll(layers, false, stage));
$("copy-json").addEventListener("click", () => copy(JSON.stringify(last.reply, null, 2), "JSON"));
$("copy-curl").addEventListener("click", () => copy(curl(picture, last.path, last.fields, last.json), "A line for curl"));
$("save").addEventListener("click", save);
$("token").value = token.get();
$("token").addEventListener("change", () => { token.set($("token").value.trim()); greet(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); }
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) take(file);
});
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take([...event.dataTransfer.files][0]);
  });
}

async function greet() {
  try {
    const [model] = (await models()).data;
    $("model").textContent = [...new Set([model.id, model.variant, model.precision])].join(" · ");
  } catch (error) {
    $("model").textContent = error.status === 401 ? "wants a token" : error.message;
    if (error.status === 401) $("token-box").open = true;
  }
}

arrange();
greet();
