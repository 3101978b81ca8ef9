"use strict";
// A recording of hours: its spectrogram, under it the answers as coloured segments, to zoom, filter and hear.
naturelm.timeline = (value, segments, colours, onChoose) => {
  const { make, clock, span } = naturelm;
  const PICTURE = 140;
  const LANE = 30;
  const AXIS = 20;
  const CLOSEST_SECONDS = 2;
  let total = Math.max(value.seconds, 0.5);
  let start = 0;
  let end = total;
  let chosen = null;
  let visible = () => true;
  let pending = false;

  const canvas = make("canvas", { "aria-hidden": "true" });
  const tip = make("div", { class: "nl-tip", "aria-hidden": "true", hidden: true });
  const lanes = value.questions.length;
  const height = PICTURE + AXIS + lanes * LANE;
  const view = make("div", {
    class: "nl-view", tabindex: "0", role: "group", "aria-roledescription": "time line",
    "aria-label": (lanes ? "Time line of answers. Left and right arrow choose a segment, Enter plays it, plus" : "Overview of the recording. Plus")
      + " and minus zoom, 0 shows everything.",
  }, canvas, naturelm.frequencies(value.listening.speed || 1), tip);
  view.style.setProperty("--picture", `${PICTURE}px`);
  const where = make("span", { class: "nl-where", role: "status" });
  const button = (text, name, action) => make("button", { type: "button", class: "nl-button", "aria-label": name, title: name, text, onclick: action });
  const toolbar = make("div", { class: "nl-toolbar", role: "toolbar", "aria-label": "Zoom" },
    button("−", "Zoom out", () => zoom(2)), button("+", "Zoom in", () => zoom(0.5)),
    button("◀", "Earlier", () => move(-0.5)), button("▶", "Later", () => move(0.5)),
    button("Show all", "Show the whole recording", () => look(0, total)), where);
  const element = make("div", { class: "nl-timeline" }, toolbar, view);
  element.dataset.recording = value.clip.name;
  const tiles = naturelm.tiles(value.session, value.clip.id, value.listening, () => draw());
  new ResizeObserver(() => draw()).observe(view);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());

  function look(from, to) {
    const length = Math.min(Math.max(to - from, Math.min(CLOSEST_SECONDS, total)), total);
    start = Math.min(Math.max(from, 0), total - length);
    end = start + length;
    draw();
  }

  /** The header of an MP3 may name a length that sound goes beyond. */
  function grow(seconds) {
    if (seconds <= total) return;
    if (end >= total) end = seconds;
    total = seconds;
  }

  function zoom(factor, around = chosen ? (chosen.start_seconds + chosen.end_seconds) / 2 : (start + end) / 2) {
    const share = Math.min(Math.max((around - start) / (end - start), 0), 1);
    const length = (end - start) * factor;
    look(around - share * length, around + (1 - share) * length);
  }

  const move = (share) => look(start + share * (end - start), end + share * (end - start));

  function draw() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => { pending = false; paint(); });
  }

  function paint() {
    const width = view.clientWidth;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(view);
    context.fillStyle = "#000004";
    context.fillRect(0, 0, width, PICTURE);
    view.dataset.tilesMissing = tiles.draw(context, start, end, width, PICTURE);
    axis(context, width, style);
    context.save();
    for (const segment of segments) if (segment.end_seconds > start && segment.start_seconds < end) box(context, width, segment, style);
    context.restore();
    if (chosen) mark(context, width, style);
    where.textContent = `${clock(start)} – ${clock(end)}${end - start < total ? ` of ${clock(total)}` : ""}`;
  }

  const x = (seconds, width) => ((seconds - start) / (end - start)) * width;

  function axis(context, width, style) {
    const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600];
    const step = steps.find((one) => (one / (end - start)) * width > 70) || 43200;
    context.fillStyle = style.color;
    context.font = `11px ${style.fontFamily}`;
    context.textBaseline = "middle";
    for (let at = Math.ceil(start / step) * step; at < end; at += step) {
      const left = x(at, width);
      context.globalAlpha = 0.5;
      context.fillRect(left, PICTURE, 1, 5);
      context.globalAlpha = 1;
      if (left < width - 40) context.fillText(clock(at), left + 3, PICTURE + AXIS / 2 + 1);
    }
  }

  function box(context, width, segment, style) {
    const { colour, ink, letter, none } = colours.of(segment.output);
    const left = Math.max(x(segment.start_seconds, width), -2);
    const right = Math.min(x(segment.end_seconds, width), width + 2);
    const top = PICTURE + AXIS + value.questions.indexOf(segment.query) * LANE;
    const wide = Math.max(right - left - (right - left > 4 ? 1 : 0), 1);
    const shown = visible(segment);
    context.globalAlpha = shown ? 1 : 0.12;
    if (none || segment.error) {
      context.strokeStyle = style.color;
      context.globalAlpha *= 0.35;
      context.setLineDash(segment.error ? [3, 2] : []);
      context.strokeRect(left + 0.5, top + LANE / 2 - 3.5, Math.max(wide - 1, 0.5), 7);
      context.setLineDash([]);
    } else {
      context.fillStyle = colour;
      context.fillRect(left, top + 2, wide, LANE - 6);
      if (shown && wide > 12) words(context, segment, letter, ink, left, top, wide, style);
    }
    context.globalAlpha = 1;
  }

  function words(context, segment, letter, ink, left, top, wide, style) {
    context.fillStyle = ink;
    context.font = `12px ${style.fontFamily}`;
    context.textBaseline = "middle";
    context.save();
    context.beginPath();
    context.rect(left, top, wide - 2, LANE);
    context.clip();
    context.fillText(wide > 50 ? `${letter} ${segment.output}` : letter, Math.max(left, 0) + 3, top + LANE / 2 - 1);
    context.restore();
  }

  function mark(context, width, style) {
    const left = x(chosen.start_seconds, width);
    const wide = Math.max(x(chosen.end_seconds, width) - left, 2);
    const top = PICTURE + AXIS + value.questions.indexOf(chosen.query) * LANE;
    context.lineWidth = 2;
    context.strokeStyle = "#ffffff";
    context.strokeRect(left, 1, wide, PICTURE - 2);
    context.strokeStyle = style.color;
    context.strokeRect(left - 1, top + 1, wide + 1, LANE - 4);
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    const seconds = start + ((event.clientX - box.left) / box.width) * (end - start);
    const lane = Math.floor((event.clientY - box.top - PICTURE - AXIS) / LANE);
    const query = value.questions[Math.max(lane, 0)];
    const found = segments.find((one) => one.query === query && one.start_seconds <= seconds && seconds < one.end_seconds && visible(one));
    return { seconds, found };
  }

  function choose(segment, play = false) {
    chosen = segment;
    if (segment) {
      const length = end - start;
      if (segment.start_seconds < start || segment.end_seconds > end) look(segment.start_seconds - length / 2, segment.start_seconds + length / 2);
    }
    draw();
    onChoose(segment, play);
  }

  function next(step) {
    const list = segments.filter(visible);
    if (!list.length) return;
    const now = list.indexOf(chosen);
    const from = now >= 0 ? now + step : step > 0 ? 0 : list.length - 1;
    choose(list[Math.min(Math.max(from, 0), list.length - 1)]);
  }

  let drag = null;
  view.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, start, end, moved: false }; });
  view.addEventListener("pointermove", (event) => {
    if (drag && event.buttons) {
      const shift = ((drag.x - event.clientX) / view.clientWidth) * (drag.end - drag.start);
      drag.moved = drag.moved || Math.abs(drag.x - event.clientX) > 4;
      if (drag.moved) look(drag.start + shift, drag.end + shift);
      return;
    }
    const { seconds, found } = at(event);
    tip.hidden = false;
    tip.textContent = found ? `${span(found.start_seconds, found.end_seconds)}: ${found.output}` : clock(seconds, true);
    tip.style.left = `${Math.min(Math.max(event.clientX - view.getBoundingClientRect().left, 60), view.clientWidth - 60)}px`;
  });
  view.addEventListener("pointerleave", () => { tip.hidden = true; drag = null; });
  view.addEventListener("pointerup", (event) => {
    const { found } = at(event);
    if (drag && !drag.moved && found) choose(found, true);
    drag = null;
  });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
    event.preventDefault();
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event).seconds);
    else move((event.deltaX || event.deltaY) / view.clientWidth);
  }, { passive: false });
  view.addEventListener("keydown", (event) => {
    const actions = {
      ArrowRight: () => next(1), ArrowLeft: () => next(-1), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      0: () => look(0, total), Home: () => { chosen = null; next(1); }, End: () => { chosen = null; next(-1); },
      Enter: () => chosen && choose(chosen, true), " ": () => chosen && choose(chosen, true),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });

  return {
    element, draw, choose, look, grow,
    filter(rule) { visible = rule; if (chosen && !rule(chosen)) chosen = null; draw(); },
    get range() { return [start, end]; },
  };
};
