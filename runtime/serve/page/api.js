// Requests to the server that this page came from.

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
  }
}

const TOKEN = "xsam-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) || "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
};

function headers(more = {}) {
  return token.get() ? { ...more, Authorization: `Bearer ${token.get()}` } : more;
}

async function checked(response) {
  if (response.ok) return response;
  let error = { message: `status ${response.status}`, code: null };
  try {
    error = (await response.json()).error;
  } catch {
    // no JSON: a proxy's own page
  }
  throw new ApiError(response.status, error);
}

async function send(path, options) {
  try {
    return await checked(await fetch(path, options));
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError(0, { message: "The server does not answer." });
    throw error;
  }
}

export async function models() {
  return (await send("/v1/models", { headers: headers() })).json();
}

// Fields are pairs; the picture is its scene's id where the server keeps it, and sent again where it does not any more.
async function withPicture(picture, ask) {
  if (picture.scene) {
    try {
      return await ask({ scene: picture.scene });
    } catch (error) {
      if (error.code !== "scene_not_found") throw error;
      picture.scene = null;
    }
  }
  return ask({ file: picture.file });
}

export async function segment(picture, fields) {
  return withPicture(picture, async ({ scene, file }) => {
    const form = new FormData();
    if (scene) form.append("scene", scene);
    else form.append("image", file, file.name || "picture");
    for (const [name, value] of fields) form.append(name, value);
    const reply = await (await send("/v1/images/segmentations", { method: "POST", body: form, headers: headers() })).json();
    picture.scene = reply.scene;
    return reply;
  });
}

function dataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// Tells the text so far, and returns the last part, which has the scene and the timings.
export async function chat(picture, text, tell) {
  return withPicture(picture, async ({ scene, file }) => {
    const content = [{ type: "text", text }];
    if (file) content.push({ type: "image_url", image_url: { url: await dataUri(file) } });
    const given = { stream: true, messages: [{ role: "user", content }], ...(scene ? { scene } : {}) };
    const response = await send("/v1/chat/completions", {
      method: "POST", body: JSON.stringify(given), headers: headers({ "Content-Type": "application/json" }),
    });
    let said = "";
    let last = {};
    for await (const part of events(response.body)) {
      if (part.error) throw new ApiError(500, part.error);
      said += part.choices?.[0]?.delta?.content || "";
      if (part.scene) last = part;
      tell(said);
    }
    picture.scene = last.scene || null;
    return { ...last, text: said };
  });
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (held + value).split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

export function curl(picture, path, fields, json) {
  const name = picture.file.name || "picture.png";
  const lines = [`curl ${quoted(location.origin + path)}`];
  if (token.get()) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  if (json) {
    const content = [{ type: "text", text: json.text }, { type: "image_url", image_url: { url: "data:image/png;base64,..." } }];
    lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify({ messages: [{ role: "user", content }] }))}`);
  } else {
    lines.push(`-F ${quoted(`image=@${name}`)}`);
    for (const [field, value] of fields) {
      lines.push(value instanceof Blob ? `-F '${field}=@mask.png'` : `--form-string ${quoted(`${field}=${value}`)}`);
    }
  }
  return lines.join(" \\\n  ");
}
