// The controls: time, what to show, where to look, and what to save.

import { MOST_SIDE, Stage, held, refusal, thumbnail, visible } from "/stage.js";

const TENTH = 0.1; // of a frame
const WHEEL = 0.0016; // of a doubling's logarithm, a pixel of the wheel
const BUTTON_ZOOM = 1.5;
const STRIP = { thumbnails: 46, ticks: 10 }; // pixels high
const POLL_MS = 200;

const $ = (id) => document.getElementById(id);
const facts = await (await fetch("/facts")).json();
const canvas = $("canvas");
const stage = new Stage(canvas, facts, tell);
const { look, camera } = stage;
const last = facts.frames.at(-1);
let playing = null; // { t, since }: where and when playing began
let clipRange = null; // [from, to] in seconds, once somebody has set it
let fitted = true; // the whole picture is shown, and follows the window's size

// ---------------------------------------------------------------------------------------- what the page says

function tell() {
  const interval = frameAt(look.t);
  const between = look.t - facts.frames[interval];
  $("time").value = `${look.t.toFixed(3)} s`;
  $("frame").value =
    `frame ${interval}` + (between > 1e-6 && interval < facts.frames.length - 1 ? ` + ${share(interval, between)}` : "");
  $("slider").value = look.t;
  $("zoom").value = percent(camera.scale);
  $("status").textContent = stage.error;
  $("status").hidden = !stage.error;
  document.body.classList.toggle("busy", !stage.idle);
  const { left, right } = labels();
  $("label-left").textContent = left;
  $("label-right").textContent = right;
  $("label-right").hidden = !right;
  $("label-right").classList.toggle("middle", look.mode === "side");
}

function share(interval, between) {
  return (between / (facts.frames[interval + 1] - facts.frames[interval])).toFixed(2);
}

function percent(scale) {
  if (scale < 10) return `${Math.round(100 * scale)} %`;
  return scale < 1e5 ? `${Math.round(scale)}×` : `${scale.toExponential(1)}×`;
}

function labels() {
  const times = facts.source_frames;
  const shown = times[Math.max(0, lastBefore(times, look.t))];
  const source = `source frame at ${shown.toFixed(3)} s`;
  const field = `field at ${look.t.toFixed(3)} s`;
  if (look.mode === "field") return { left: field, right: "" };
  if (look.mode === "source") return { left: source, right: "" };
  return { left: source, right: field };
}

// Instants come in more digits than the field keeps: a frame's own is that frame's.
function lastBefore(times, t) {
  let index = times.length - 1;
  while (index >= 0 && times[index] > t + 1e-6) index -= 1;
  return index;
}

function frameAt(t) {
  return Math.max(0, lastBefore(facts.frames, t));
}

// ---------------------------------------------------------------------------------------- time

function goTo(t) {
  stage.change({ t: held(t, 0, facts.duration) });
}

function step(frames, part = false) {
  pause();
  const here = frameAt(look.t);
  const next = Math.min(here + 1, facts.frames.length - 1);
  if (part) {
    const interval = next > here ? facts.frames[next] - facts.frames[here] : 1 / facts.frame_rate;
    goTo(look.t + frames * TENTH * interval);
  } else if (frames > 0) {
    goTo(facts.frames[next]);
  } else {
    const within = look.t > facts.frames[here] + 1e-6;
    goTo(facts.frames[within ? here : Math.max(0, here - 1)]);
  }
}

function play() {
  if (!facts.duration) return;
  playing = { t: look.t >= last ? 0 : look.t, since: performance.now() };
  $("play").setAttribute("aria-pressed", "true");
  $("play").setAttribute("aria-label", "Pause");
  requestAnimationFrame(playOn);
}

function playOn(now) {
  if (!playing) return;
  // The next instant once this one is there: as fast as it renders, and never behind the clock.
  if (stage.settled) {
    const t = playing.t + (Math.max(0, now - playing.since) / 1000) * Number($("speed").value);
    if (t >= facts.duration) playing = { t: 0, since: now };
    goTo(t % facts.duration);
  }
  requestAnimationFrame(playOn);
}

function pause() {
  playing = null;
  $("play").setAttribute("aria-pressed", "false");
  $("play").setAttribute("aria-label", "Play");
}

$("slider").max = facts.duration;
$("slider").addEventListener("input", () => {
  pause();
  goTo(Number($("slider").value));
});
$("play").addEventListener("click", () => (playing ? pause() : play()));
$("back").addEventListener("click", () => step(-1));
$("on").addEventListener("click", () => step(1));
$("speed").addEventListener("change", () => playing && play());

// ---------------------------------------------------------------------------------------- what to show

function show(mode) {
  stage.change({ mode });
  for (const button of $("modes").children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  $("wipe").hidden = mode !== "wipe";
  $("scaling").disabled = mode === "field";
  if (fitted) fit();
}

function wipeTo(part) {
  stage.change({ wipe: held(part, 0, 1) });
  $("wipe").style.left = `${100 * look.wipe}%`;
}

function toggleMotion() {
  if (!facts.motion) return;
  stage.change({ motion: !look.motion });
  $("motion").setAttribute("aria-pressed", String(look.motion));
  $("wheel").hidden = !look.motion;
}

for (const button of $("modes").children) button.addEventListener("click", () => show(button.dataset.mode));
$("motion").addEventListener("click", toggleMotion);
$("motion").disabled = !facts.motion;
if (!facts.motion) $("motion").title = "this field knows no motion";
$("scaling").addEventListener("change", () => stage.change({ scaling: $("scaling").value }));
$("wipe").addEventListener("pointerdown", (event) => $("wipe").setPointerCapture(event.pointerId));
$("wipe").addEventListener("pointermove", (event) => {
  if (!$("wipe").hasPointerCapture(event.pointerId)) return;
  const box = canvas.getBoundingClientRect();
  wipeTo((event.clientX - box.left) / box.width);
});

// ---------------------------------------------------------------------------------------- where to look

function fit() {
  fitted = true;
  camera.fit(stage.pane);
  stage.change();
}

function zoom(factor, x = 0, y = 0) {
  fitted = false;
  camera.zoom(factor, x, y);
  stage.change();
}

// A place of the window in pixels of the screen from the middle of the pane under it.
function fromMiddle(event) {
  const box = canvas.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  const x = (event.clientX - box.left) * ratio;
  const right = look.mode === "side" && x > canvas.width / 2;
  return [
    x - (right ? canvas.width - stage.pane.width / 2 : stage.pane.width / 2),
    (event.clientY - box.top) * ratio - stage.pane.height / 2,
  ];
}

canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    // Two fingers that pinch arrive as a wheel with Ctrl, in much smaller steps.
    const pinch = event.ctrlKey ? 6 : 1;
    zoom(Math.exp(-event.deltaY * lines * pinch * WHEEL), ...fromMiddle(event));
  },
  { passive: false },
);
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  canvas.classList.add("moving");
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.hasPointerCapture(event.pointerId) || !(event.movementX || event.movementY)) return;
  fitted = false;
  camera.move(event.movementX * devicePixelRatio, event.movementY * devicePixelRatio);
  stage.change();
});
canvas.addEventListener("lostpointercapture", () => canvas.classList.remove("moving"));
$("zoom-in").addEventListener("click", () => zoom(BUTTON_ZOOM));
$("zoom-out").addEventListener("click", () => zoom(1 / BUTTON_ZOOM));
$("fit").addEventListener("click", fit);

new ResizeObserver(() => {
  const { width, height } = $("stage").getBoundingClientRect();
  stage.resize(Math.max(1, Math.round(width * devicePixelRatio)), Math.max(1, Math.round(height * devicePixelRatio)));
  if (fitted) fit();
  else stage.change();
}).observe($("stage"));

// ---------------------------------------------------------------------------------------- the film strip

let filmNumber = 0;

async function drawFilm() {
  const number = ++filmNumber;
  const film = $("film");
  const { width, height } = film.getBoundingClientRect();
  film.width = Math.round(width * devicePixelRatio);
  film.height = Math.round(height * devicePixelRatio);
  const context = film.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  drawTicks(context, width);
  const each = (STRIP.thumbnails * camera.shape.width) / camera.shape.height;
  const count = Math.max(1, Math.round(width / each));
  const size = { width: Math.ceil((width / count) * devicePixelRatio), height: Math.ceil(STRIP.thumbnails * devicePixelRatio) };
  for (let i = 0; i < count; i += 1) {
    // What the person looks at comes first.
    while (playing || !stage.idle) await new Promise((done) => setTimeout(done, POLL_MS));
    if (number !== filmNumber) return;
    // Frames' own instants: they cost least, and are what people know.
    const t = facts.frames[frameAt(((i + 0.5) / count) * facts.duration)];
    const picture = await thumbnail(t, size).catch(() => null);
    if (number !== filmNumber) return;
    if (picture) context.drawImage(picture, (i * width) / count, 0, width / count, STRIP.thumbnails);
  }
}

function drawTicks(context, width) {
  const place = (t) => (t / facts.duration) * width;
  if (facts.frames.length < width / 4) {
    context.fillStyle = "#5b6473";
    for (const t of facts.frames) context.fillRect(place(t), STRIP.thumbnails + 3, 1, STRIP.ticks - 5);
  }
  context.fillStyle = "#ffb454";
  for (const t of facts.cuts) context.fillRect(place(t) - 1, STRIP.thumbnails, 2, STRIP.ticks);
}

let filmTimer;
new ResizeObserver(() => {
  clearTimeout(filmTimer);
  filmTimer = setTimeout(drawFilm, POLL_MS);
}).observe($("strip"));

// ---------------------------------------------------------------------------------------- saving

function toggleSave() {
  const open = $("save").hidden;
  $("save").hidden = !open;
  $("save-toggle").setAttribute("aria-expanded", String(open));
  if (open) suggest();
}

// The width at which what is in view stands on the screen, and the whole clip unless a part was chosen.
function suggest() {
  const seen = visible(camera.region(stage.pane));
  if (seen) $("width").value = held(2 * Math.round(((seen[2] - seen[0]) * camera.box(stage.pane).width) / 2), 2, MOST_SIDE);
  const [from, to] = clipRange ?? [0, facts.duration];
  $("from").value = Number(from.toFixed(4));
  $("to").value = Number(to.toFixed(4));
}

function chooseRange() {
  clipRange = [Number($("from").value), Number($("to").value)];
  const [from, to] = clipRange.map((t) => held(t / facts.duration, 0, 1));
  $("range").hidden = !(from < to);
  $("range").style.left = `${100 * from}%`;
  $("range").style.width = `${100 * (to - from)}%`;
}

function markHere(id) {
  if ($("save").hidden) toggleSave();
  $(id).value = Number(look.t.toFixed(4));
  chooseRange();
}

function saved(text, bad = false) {
  $("save-status").textContent = text;
  $("save-status").classList.toggle("bad", bad);
}

function download(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

async function savePicture() {
  $("save-picture").disabled = true;
  saved("Making the picture…");
  try {
    const width = Number($("width").value);
    if (!(Number.isInteger(width) && width >= 1 && width <= MOST_SIDE)) throw new Error(`the width must be 1 to ${MOST_SIDE} pixels`);
    const blob = await stage.picture(width);
    const address = URL.createObjectURL(blob);
    download(address, `${facts.name}-${look.t.toFixed(3)}s.png`);
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    saved("Picture saved.");
  } catch (error) {
    saved(error.message, true);
  } finally {
    $("save-picture").disabled = false;
  }
}

async function answerOf(address, options) {
  const response = await fetch(address, options);
  if (!response.ok) throw new Error(await refusal(response));
  return response.json();
}

async function saveClip() {
  const [u0, v0, u1, v1] = camera.region(stage.pane);
  const number = (id) => ($(id).value === "" ? null : Number($(id).value));
  const order = {
    ...{ u0, v0, u1, v1, width: number("width"), start: number("from"), end: number("to") },
    ...{ slowmo: number("slowmo"), fps: number("fps") },
  };
  $("save-clip").disabled = true;
  saved("");
  try {
    const headers = { "Content-Type": "application/json" };
    let job = await answerOf("/clips", { method: "POST", headers, body: JSON.stringify(order) });
    $("making").hidden = false;
    $("cancel").onclick = () => answerOf(`/clips/${job.number}`, { method: "DELETE" }).catch((error) => saved(error.message, true));
    while (job.state === "rendering") {
      if (job.frames) $("progress").value = job.written / job.frames;
      else $("progress").removeAttribute("value");
      saved(job.frames ? `Frame ${job.written} of ${job.frames}` : "Beginning…");
      await new Promise((done) => setTimeout(done, POLL_MS));
      job = await answerOf(`/clips/${job.number}`);
    }
    if (job.state === "failed") throw new Error(job.error);
    if (job.state === "done") download(`/clips/${job.number}/video`, "");
    saved(job.state === "done" ? `Clip of ${job.frames} frames saved.` : "Cancelled.");
  } catch (error) {
    saved(error.message, true);
  } finally {
    $("making").hidden = true;
    $("save-clip").disabled = false;
  }
}

$("save-toggle").addEventListener("click", toggleSave);
$("save-picture").addEventListener("click", savePicture);
$("save-clip").addEventListener("click", saveClip);
for (const id of ["from", "to"]) {
  $(id).addEventListener("input", chooseRange);
  $(`${id}-here`).addEventListener("click", () => markHere(id));
}
$("help-toggle").addEventListener("click", () => $("help").showModal());

// ---------------------------------------------------------------------------------------- keys

const KEYS = {
  " ": () => (playing ? pause() : play()),
  ArrowLeft: (event) => step(-1, event.shiftKey),
  ArrowRight: (event) => step(1, event.shiftKey),
  Home: () => goTo(0),
  End: () => goTo(last),
  "+": () => zoom(BUTTON_ZOOM),
  "=": () => zoom(BUTTON_ZOOM),
  "-": () => zoom(1 / BUTTON_ZOOM),
  0: fit,
  1: () => zoom(1 / camera.scale),
  w: () => show(look.mode === "wipe" ? "field" : "wipe"),
  m: toggleMotion,
  i: () => markHere("from"),
  o: () => markHere("to"),
  s: toggleSave,
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=number], select") || $("help").open;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (!act) return;
  // Or a button that was clicked before would be pressed by the space bar, and the slider moved by the arrows.
  event.preventDefault();
  act(event);
});

document.title = `${facts.name} · vfield`;
$("name").textContent = facts.name;
$("about").textContent =
  `${facts.width}×${facts.height}, ${facts.frames.length} frames, ${facts.duration.toFixed(2)} s`;
$("wipe").style.left = `${100 * look.wipe}%`;
show("field");
