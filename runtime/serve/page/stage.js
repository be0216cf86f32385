// The picture, what is drawn on it, and the regions that a user marks. Coordinates are pixels of the picture.

const LONGEST = 1600; // of the canvas; masks and regions keep the picture's own size
const RADIUS = 1 / 90; // of a point that is drawn, and of the smallest brush

export class Stage {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.layers = [];
    this.lit = null;
    this.tool = null;
    this.brush = 5;
    this.cursor = null;
    this.corner = null;
    this.frame = 0;
    this.marks = [];
    this.started = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
  }

  show(bitmap) {
    this.bitmap = bitmap;
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    this.canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    this.canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    this.layers = [];
    this.clear();
  }

  clear() {
    this.marks = []; // {kind: "box" | "point", at: [...]} or {kind: "stroke", path: [[x, y], ...], radius}
    this.started = this.corner = null;
    this.draw();
    this.changed();
  }

  undo() {
    this.marks.pop();
    this.draw();
    this.changed();
  }

  setTool(tool) {
    this.tool = tool;
    this.canvas.classList.toggle("drawing", Boolean(tool));
    this.corner = null;
    this.draw();
  }

  boxes() { return this.marks.filter(({ kind }) => kind === "box").map(({ at }) => at); }

  points() { return this.marks.filter(({ kind }) => kind === "point").map(({ at }) => at); }

  strokes() { return this.marks.filter(({ kind }) => kind === "stroke"); }

  // A PNG in black and white of the picture's size, or null.
  async mask() {
    if (!this.strokes().length) return null;
    const canvas = new OffscreenCanvas(this.bitmap.width, this.bitmap.height);
    const context = canvas.getContext("2d");
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (const stroke of this.strokes()) paint(context, stroke, "#fff", 1);
    // Edges are softened; what is more than half white is the region, as the server reads it.
    return canvas.convertToBlob({ type: "image/png" });
  }

  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const x = (event.clientX - left) / width * this.bitmap.width;
    const y = (event.clientY - top) / height * this.bitmap.height;
    return this.inside([x, y]);
  }

  inside([x, y]) {
    const clip = (value, end) => Math.round(Math.min(Math.max(value, 0), end) * 10) / 10;
    return [clip(x, this.bitmap.width - 1), clip(y, this.bitmap.height - 1)];
  }

  radius() { return Math.max(this.bitmap.width, this.bitmap.height) * RADIUS * this.brush / 2; }

  down(event) {
    if (!this.tool || event.button) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.place(event);
    if (this.tool === "point") this.add({ kind: "point", at });
    else if (this.tool === "box") this.started = { kind: "box", from: at, at: [...at, ...at] };
    else this.started = { kind: "stroke", path: [at], radius: this.radius() };
    this.draw();
  }

  move(event) {
    if (!this.started) return;
    const at = this.place(event);
    if (this.started.kind === "box") this.started.at = box(this.started.from, at);
    else this.started.path.push(at);
    this.draw();
  }

  up() {
    const mark = this.started;
    this.started = null;
    if (!mark) return;
    if (mark.kind === "stroke" || (mark.at[2] - mark.at[0] >= 2 && mark.at[3] - mark.at[1] >= 2)) this.add(mark);
    this.draw();
  }

  cancel() {
    this.started = null;
    this.draw();
  }

  add(mark) {
    this.marks.push(mark);
    this.changed();
  }

  // Arrows move a cross, Enter marks; a box takes two corners.
  key(event) {
    if (!this.tool || !this.bitmap) return;
    const step = Math.max(this.bitmap.width, this.bitmap.height) / (event.shiftKey ? 12 : 60);
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) {
      const [x, y] = this.cursor || [this.bitmap.width / 2, this.bitmap.height / 2];
      this.cursor = this.inside([x + moves[event.key][0] * step, y + moves[event.key][1] * step]);
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey || event.key === " ") {
      this.cursor ||= [this.bitmap.width / 2, this.bitmap.height / 2];
      this.mark(this.cursor);
    } else if (event.key === "Escape") {
      this.corner = null;
    } else return;
    event.preventDefault();
    this.draw();
  }

  mark(at) {
    if (this.tool === "point") this.add({ kind: "point", at });
    else if (this.tool === "brush") this.add({ kind: "stroke", path: [at], radius: this.radius() });
    else if (!this.corner) this.corner = at;
    else {
      const made = box(this.corner, at);
      this.corner = null;
      if (made[2] > made[0] && made[3] > made[1]) this.add({ kind: "box", at: made });
    }
  }

  draw() {
    if (!this.bitmap || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint(this.canvas);
    });
  }

  paint(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(this.bitmap, 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    for (const layer of this.layers) {
      const lit = this.lit === layer;
      if (!layer.shown && !lit) continue;
      context.globalAlpha = lit ? Math.max(layer.opacity, 0.75) : this.lit ? layer.opacity * 0.25 : layer.opacity;
      context.drawImage(layer.tinted, 0, 0, canvas.width, canvas.height);
    }
    context.globalAlpha = 1;
    context.scale(canvas.width / this.bitmap.width, canvas.height / this.bitmap.height);
    if (this.tool) this.paintMarks(context);
  }

  paintMarks(context) {
    const unit = Math.max(this.bitmap.width, this.bitmap.height) * RADIUS;
    for (const mark of [...this.marks, ...(this.started ? [this.started] : [])]) {
      if (mark.kind === "stroke") paint(context, mark, "#ffd400", 0.55);
      else outline(context, unit, (path) => {
        const [x0, y0, x1, y1] = mark.at;
        if (mark.kind === "box") path.rect(x0, y0, x1 - x0, y1 - y0);
        else path.arc(x0, y0, unit * 0.6, 0, 2 * Math.PI);
      });
    }
    for (const at of [this.cursor, this.corner]) {
      if (!at) continue;
      outline(context, unit, (path) => {
        path.moveTo(at[0] - unit, at[1]);
        path.lineTo(at[0] + unit, at[1]);
        path.moveTo(at[0], at[1] - unit);
        path.lineTo(at[0], at[1] + unit);
      });
    }
  }
}

function box([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

function outline(context, unit, make) {
  for (const [color, width] of [["rgba(0, 0, 0, .75)", 0.5], ["#ffd400", 0.25]]) {
    context.beginPath();
    make(context);
    context.strokeStyle = color;
    context.lineWidth = unit * width;
    context.stroke();
  }
}

function paint(context, { path, radius }, color, alpha) {
  context.save();
  context.globalAlpha = alpha;
  context.strokeStyle = context.fillStyle = color;
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = 2 * radius;
  context.beginPath();
  if (path.length === 1) {
    context.arc(...path[0], radius, 0, 2 * Math.PI);
    context.fill();
  } else {
    path.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  }
  context.restore();
}
