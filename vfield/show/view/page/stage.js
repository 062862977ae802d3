// The picture on the stage: which part of it is seen, the layers asked for and drawn, and both in one saved picture.

const GROUND = "#0d0f13";
const REST_MS = 140; // without a change, after which the full view is asked for
const PREVIEW_MS = 90; // that a preview may take; its size follows
const PREVIEW_PIXELS = { least: 8_000, first: 60_000 };
const WIDEST = 1e12; // pixels of the whole picture: beyond it, positions have no digits left
export const MOST_SIDE = 8192; // pixels of a view
const MARGIN = 0.1; // of a region, around a preview
const SMALLEST = 24; // pixels of the whole picture
const MOTION_OPACITY = 0.7; // of the fastest
const GAP = 2; // pixels between two panes
const MOST_TRIES = 20; // of a view, while the server is busy

export class Camera {
  // Where on the picture the middle of a pane is, and how many pixels of the screen one of the source's rows takes.
  constructor(facts) {
    this.shape = { width: facts.width * facts.pixel_aspect, height: facts.height };
    this.u = this.v = 0.5;
    this.scale = 1;
  }

  fit(pane) {
    this.u = this.v = 0.5;
    this.scale = Math.min(pane.width / this.shape.width, pane.height / this.shape.height);
  }

  // The picture's box on a pane, on whole pixels: at 100 % a pixel of the source is then one of the screen.
  box(pane) {
    const width = this.shape.width * this.scale;
    const height = this.shape.height * this.scale;
    return {
      left: Math.round(pane.width / 2 - this.u * width),
      top: Math.round(pane.height / 2 - this.v * height),
      width,
      height,
    };
  }

  region(pane) {
    const { left, top, width, height } = this.box(pane);
    return [-left / width, -top / height, (pane.width - left) / width, (pane.height - top) / height];
  }

  move(dx, dy) {
    this.u = held(this.u - dx / (this.shape.width * this.scale), 0, 1);
    this.v = held(this.v - dy / (this.shape.height * this.scale), 0, 1);
  }

  // Zoom so that what is at x, y, from the pane's middle, stays there.
  zoom(factor, x = 0, y = 0) {
    const scale = held(this.scale * factor, SMALLEST / this.shape.width, WIDEST / this.shape.width);
    const change = 1 / this.scale - 1 / scale;
    this.u = held(this.u + (x * change) / this.shape.width, 0, 1);
    this.v = held(this.v + (y * change) / this.shape.height, 0, 1);
    this.scale = scale;
  }
}

export function held(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

// What is in view of the picture itself, or null.
export function visible([u0, v0, u1, v1]) {
  const seen = [Math.max(u0, 0), Math.max(v0, 0), Math.min(u1, 1), Math.min(v1, 1)];
  return seen[0] < seen[2] && seen[1] < seen[3] ? seen : null;
}

function widened([u0, v0, u1, v1]) {
  const [du, dv] = [MARGIN * (u1 - u0), MARGIN * (v1 - v0)];
  return [u0 - du, v0 - dv, u1 + du, v1 + dv];
}

export async function refusal(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the server answered ${response.status}`;
  }
}

const page = Math.random().toString(36).slice(2);

async function fetchView(layer, look, region, size, options = {}) {
  const asked = new URLSearchParams({
    ...{ t: look.t, u0: region[0], v0: region[1], u1: region[2], v1: region[3] },
    ...{ width: size.width, height: size.height, layer, scaling: look.scaling, format: options.format ?? "png" },
    ...(options.number ? { asker: `${page}-${layer}`, number: options.number } : {}),
  });
  let response = await fetch(`/view?${asked}`, { signal: options.signal });
  // Busy, perhaps with another window's views: those end.
  for (let tries = 0; response.status === 503 && tries < MOST_TRIES; tries += 1) {
    await new Promise((done) => setTimeout(done, 1000 * (Number(response.headers.get("Retry-After")) || 1)));
    response = await fetch(`/view?${asked}`, { signal: options.signal });
  }
  if (!response.ok) throw Object.assign(new Error(await refusal(response)), { outdated: response.status === 409 });
  return createImageBitmap(await response.blob());
}

export function thumbnail(t, size) {
  return fetchView("field", { t, scaling: "lanczos" }, [0, 0, 1, 1], size, { format: "jpeg" });
}

function fineness({ bitmap, region }) {
  return bitmap.width / (region[2] - region[0]);
}

// One layer: a quick small view while the hand moves, the full one when it rests. Only the newest wish is asked for.
class Layer {
  constructor(name, stage) {
    this.name = name;
    this.stage = stage;
    this.number = 0;
    this.pixels = PREVIEW_PIXELS.first;
    this.preview = this.full = null; // { bitmap, region, t, version }
    this.asking = null; // "preview" or "full"
    this.seen = this.finished = -1; // versions of what is shown, and shown in full
    this.error = "";
  }

  interrupt() {
    if (this.asking === "full") this.abort.abort();
  }

  async pump() {
    if (this.asking) return;
    const { version, resting } = this.stage;
    if (this.seen !== version) await this.ask("preview", version);
    else if (this.finished !== version && resting) await this.ask("full", version);
    else return;
    this.stage.changedLayer();
  }

  async ask(kind, version) {
    const { pane, camera, look } = this.stage;
    const { t } = look;
    let region = camera.region(pane);
    let size = pane;
    const whole = kind === "full" || this.pixels >= pane.width * pane.height;
    if (!whole) {
      // The picture alone, and a little around what is in view, for a hand that goes on moving.
      region = visible(widened(region)) ?? region;
      size = this.previewSize(region);
    }
    const format = whole || this.name === "motion" ? "png" : "jpeg";
    this.asking = kind;
    this.abort = new AbortController();
    const began = performance.now();
    try {
      const options = { format, number: ++this.number, signal: this.abort.signal };
      const bitmap = await fetchView(this.name, look, region, size, options);
      const kept = whole ? "full" : "preview";
      this[kept]?.bitmap.close();
      this[kept] = { bitmap, region, t, version };
      this.seen = version;
      if (whole) this.finished = version;
      this.error = "";
    } catch (error) {
      if (error.name === "AbortError" || error.outdated) return;
      this.error = error.message;
      this.seen = this.finished = version; // not again until something changes
    } finally {
      this.asking = null;
      if (kind === "preview") {
        const faster = held(PREVIEW_MS / (performance.now() - began), 0.4, 1.6);
        this.pixels = held(this.pixels * faster, PREVIEW_PIXELS.least, pane.width * pane.height);
      }
    }
  }

  previewSize([u0, v0, u1, v1]) {
    const { shape } = this.stage.camera;
    const high = ((v1 - v0) * shape.height) / ((u1 - u0) * shape.width);
    const width = Math.round(Math.sqrt(this.pixels / high));
    return { width: held(width, 1, MOST_SIDE), height: held(Math.round(width * high), 1, MOST_SIDE) };
  }

  // Older below newer, but of one instant the finer above the coarser. What is transparent is drawn once, and what is
  // asked for alone, once it is there in full: a preview may be finer, from when one was nearer, but it is a JPEG.
  images() {
    const { preview, full } = this;
    if (full?.version === this.stage.version) return [full];
    const kept = [preview, full].filter(Boolean);
    if (kept.length === 2) {
      const order = full.t === preview.t ? fineness(full) - fineness(preview) : full.version - preview.version;
      if (order < 0) kept.reverse();
    }
    return this.name === "motion" ? kept.slice(-1) : kept;
  }

  forget() {
    for (const image of [this.preview, this.full]) image?.bitmap.close();
    this.preview = this.full = null;
  }
}

export class Stage {
  constructor(canvas, facts, told) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.camera = new Camera(facts);
    this.look = { t: 0, mode: "field", motion: false, scaling: "lanczos", wipe: 0.5 };
    this.version = 0;
    this.resting = false;
    this.told = told;
    this.layers = Object.fromEntries(["field", "source", "motion"].map((name) => [name, new Layer(name, this)]));
  }

  get panes() {
    return panesOf(this.look, this.pane);
  }

  get needed() {
    return layersIn(this.panes).map((name) => this.layers[name]);
  }

  get settled() {
    return this.needed.every((layer) => layer.seen === this.version);
  }

  get idle() {
    return this.needed.every((layer) => layer.finished === this.version && !layer.asking);
  }

  resize(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.arrange();
  }

  // The size of one pane: all panes are alike and show the same region.
  arrange() {
    const { width, height } = this.canvas;
    this.pane = { width: this.look.mode === "side" ? Math.max(1, Math.floor((width - GAP) / 2)) : width, height };
  }

  // Something is to be shown that was not before.
  change(wish = {}) {
    if (wish.scaling && wish.scaling !== this.look.scaling) this.layers.source.forget();
    Object.assign(this.look, wish);
    this.arrange();
    this.version += 1;
    this.resting = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.resting = true;
      this.pump();
    }, REST_MS);
    for (const layer of Object.values(this.layers)) layer.interrupt();
    this.draw();
    this.pump();
    this.told();
  }

  pump() {
    for (const layer of this.needed) layer.pump();
  }

  changedLayer() {
    this.draw();
    this.pump();
    this.told();
  }

  get error() {
    return this.needed.map((layer) => layer.error).find(Boolean) ?? "";
  }

  draw() {
    const { context, camera, pane } = this;
    context.fillStyle = GROUND;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const box = camera.box(pane);
    const [u0, v0] = camera.region(pane);
    const place = (region) => [
      (region[0] - u0) * box.width,
      (region[1] - v0) * box.height,
      (region[2] - region[0]) * box.width,
      (region[3] - region[1]) * box.height,
    ];
    compose(context, this.panes, pane, box, (name) =>
      this.layers[name].images().map(({ bitmap, region }) => ({ bitmap, place: place(region) })),
    );
  }

  // What is in view as a picture of its own, `width` pixels wide in each pane: a PNG.
  async picture(width) {
    const seen = visible(this.camera.region(this.pane));
    if (!seen) throw new Error("nothing of the picture is in view; move it back into sight");
    const { shape } = this.camera;
    const high = ((seen[3] - seen[1]) * shape.height) / ((seen[2] - seen[0]) * shape.width);
    const size = { width, height: Math.max(1, Math.round(width * high)) };
    const look = { ...this.look, wipe: this.wipeOf(seen) };
    const panes = panesOf(look, size);
    // One after the other, as they are made: all at once, large ones are more than the server takes.
    const bitmaps = {};
    for (const name of layersIn(panes)) bitmaps[name] = await fetchView(name, look, seen, size);
    const canvas = document.createElement("canvas");
    canvas.width = panes.at(-1).x + size.width;
    canvas.height = size.height;
    const context = canvas.getContext("2d", { alpha: false });
    const whole = { left: 0, top: 0, ...size };
    compose(context, panes, size, whole, (name) => [
      { bitmap: bitmaps[name], place: [0, 0, size.width, size.height] },
    ]);
    return new Promise((done, failed) =>
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the picture is too large for this browser")))),
    );
  }

  // The wipe's place across what is seen of the picture, rather than across the pane.
  wipeOf(seen) {
    const [u0, , u1] = this.camera.region(this.pane);
    return held((u0 + this.look.wipe * (u1 - u0) - seen[0]) / (seen[2] - seen[0]), 0, 1);
  }
}

// Where which layers are drawn, lowest first. `from` and `to` are the part of a pane's width that they take.
function panesOf({ mode, motion, wipe }, pane) {
  const over = motion ? ["motion"] : [];
  const field = { x: 0, from: 0, to: 1, layers: ["field", ...over] };
  if (mode === "source") return [{ ...field, layers: ["source", ...over] }];
  if (mode === "side") return [{ ...field, layers: ["source"] }, { ...field, x: pane.width + GAP }];
  if (mode === "wipe") return [{ ...field, to: wipe, layers: ["source"] }, { ...field, from: wipe }];
  return [field];
}

function layersIn(panes) {
  return [...new Set(panes.flatMap((pane) => pane.layers))];
}

function compose(context, panes, size, box, images) {
  for (const pane of panes) {
    context.save();
    context.beginPath();
    const from = Math.round(pane.from * size.width);
    const to = Math.round(pane.to * size.width);
    // Nothing beyond the pane, nor beyond the picture.
    const left = Math.max(from, box.left);
    const top = Math.max(0, box.top);
    const right = Math.min(to, Math.round(box.left + box.width));
    const bottom = Math.min(size.height, Math.round(box.top + box.height));
    context.rect(pane.x + left, top, Math.max(0, right - left), Math.max(0, bottom - top));
    context.clip();
    for (const name of pane.layers) {
      context.globalAlpha = name === "motion" ? MOTION_OPACITY : 1;
      for (const { bitmap, place } of images(name)) {
        context.drawImage(bitmap, pane.x + place[0], place[1], place[2], place[3]);
      }
    }
    context.restore();
  }
}
