"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const storageKey = `naturelm-review:${data.id}`;
  const MARKS = ["right", "wrong", "unsure"];
  const audio = byId("audio");
  let marks = {};
  let shown = data.clips.map((_, index) => index);
  let current = null;

  const load = () => {
    try {
      marks = JSON.parse(localStorage.getItem(storageKey) || "{}") || {};
    } catch {
      notKept();
    }
  };
  const save = () => {
    try {
      localStorage.setItem(storageKey, JSON.stringify(marks));
    } catch {
      notKept();
    }
  };
  const notKept = () =>
    notice("marks", "This browser does not keep the marks: export them before you close the page.");
  // Three reasons for a notice, which come and go by themselves; a late event must not wipe out another's.
  const notices = { marks: "", clip: "", filter: "" };
  const notice = (reason, text) => {
    notices[reason] = text;
    const all = Object.values(notices).filter(Boolean).join(" ");
    byId("notice").textContent = all;
    byId("notice").hidden = !all;
  };
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const clock = (seconds) => {
    const whole = Math.floor(seconds), hours = Math.floor(whole / 3600);
    const rest = seconds - whole, two = (number) => String(number).padStart(2, "0");
    const decimals = rest > 0.0005 ? `.${String(Math.round(rest * 1000)).padStart(3, "0").replace(/0+$/, "")}` : "";
    const minutes = Math.floor(whole / 60) % 60;
    return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}${decimals}`;
  };
  const score = (clip) => (clip.score === null ? "" : clip.score.toFixed(2));
  const markOf = (index) => marks[data.clips[index].id];

  // --- the clip in front ---

  const show = (index, play) => {
    current = index;
    const clip = data.clips[index], mark = markOf(index);
    byId("card").hidden = false;
    byId("label").textContent = clip.label || "(nothing)";
    const parts = [clip.path, `${clock(clip.start_seconds)} – ${clock(clip.end_seconds)}`];
    if (clip.score !== null) parts.push(`score ${score(clip)}`);
    if (clip.speed_factor !== 1) parts.push(`played at ${clip.speed_factor} times its speed`);
    byId("where").textContent = parts.join("  ·  ");
    byId("spectrogram").src = clip.image;
    byId("spectrogram").alt = `Spectrogram of ${clip.label}`;
    notice("clip", "");
    audio.src = clip.audio;
    byId("playhead").style.left = "0";
    drawAxes(clip);
    byId("correct").value = mark ? mark.correct_label : "";
    for (const button of document.querySelectorAll(".marks button")) {
      button.setAttribute("aria-pressed", String(Boolean(mark) && mark.mark === button.dataset.mark));
    }
    const place = shown.indexOf(index);
    byId("place").textContent = `${place + 1} of ${shown.length}`;
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place >= shown.length - 1;
    for (const button of document.querySelectorAll(".clips button")) {
      button.setAttribute("aria-current", String(Number(button.dataset.index) === index));
    }
    if (play && byId("autoplay").checked) audio.play().catch(() => {});
  };
  const drawAxes = (clip) => {
    byId("frequencies").replaceChildren(...data.frequencies.map(([hertz, position]) => {
      const real = hertz / clip.speed_factor;
      const tick = make("span", { textContent: real >= 1000 ? `${real / 1000}k` : `${real}` });
      tick.style.bottom = `${position * 100}%`;
      return tick;
    }));
    const seconds = clip.end_seconds - clip.start_seconds, steps = 4;
    byId("times").replaceChildren(...Array.from({ length: steps + 1 }, (_, step) => {
      const tick = make("span", { textContent: `${Number(((seconds * step) / steps).toPrecision(3))} s` });
      tick.style.left = `${(step / steps) * 100}%`;
      return tick;
    }));
  };
  const step = (by, play = true) => {
    const place = shown.indexOf(current) + by;
    if (place >= 0 && place < shown.length) show(shown[place], play);
  };
  const advance = () => {
    const place = shown.indexOf(current);
    const order = [...shown.slice(place + 1), ...shown.slice(0, place)];
    const next = order.find((index) => !markOf(index));
    if (next !== undefined) show(next, true);
    else if (place < shown.length - 1) step(1);
    else show(current, false);
  };
  const setMark = (mark, correct) => {
    const id = data.clips[current].id;
    if (mark) marks[id] = { mark, correct_label: mark === "right" ? "" : correct };
    else delete marks[id];
    save();
    draw();
  };

  // --- all clips ---

  const draw = () => {
    const counts = { right: 0, wrong: 0, unsure: 0 };
    data.clips.forEach((_, index) => {
      const mark = markOf(index);
      if (mark) counts[mark.mark] += 1;
    });
    const marked = counts.right + counts.wrong + counts.unsure, total = data.clips.length;
    byId("progress").textContent =
      `${marked} of ${total} marked: ${counts.right} right, ${counts.wrong} wrong, ${counts.unsure} unsure`;
    for (const mark of MARKS) byId(`bar-${mark}`).style.width = `${(100 * counts[mark]) / Math.max(total, 1)}%`;
    byId("export").disabled = marked === 0;
    for (const button of document.querySelectorAll(".clips button")) {
      const mark = markOf(Number(button.dataset.index));
      if (mark) button.dataset.mark = mark.mark;
      else delete button.dataset.mark;
      button.querySelector(".state").textContent = mark ? { right: "✓", wrong: "✗", unsure: "?" }[mark.mark] : "";
      button.setAttribute("aria-label", `${button.dataset.name}, ${mark ? mark.mark : "not marked"}`);
    }
    const known = new Set(data.clips.map((clip) => clip.label));
    for (const mark of Object.values(marks)) if (mark.correct_label) known.add(mark.correct_label);
    byId("known").replaceChildren(...[...known].sort().map((value) => make("option", { value })));
  };
  const list = () => {
    const groups = new Map();
    for (const index of shown) {
      const label = data.clips[index].label;
      if (!groups.has(label)) groups.set(label, []);
      groups.get(label).push(index);
    }
    byId("overview").replaceChildren(...[...groups].flatMap(([label, indexes]) => [
      make("h3", {}, label || "(nothing)", make("span", { textContent: `  ${indexes.length}` })),
      make("ol", { className: "clips" }, ...indexes.map(entry)),
    ]));
    draw();
  };
  const entry = (index) => {
    const clip = data.clips[index];
    const name = make("span", { textContent: score(clip) || clock(clip.start_seconds) });
    const button = make("button", { type: "button", title: `${clip.path} ${clock(clip.start_seconds)}` },
      make("img", { src: clip.image, alt: "", loading: "lazy" }),
      make("small", {}, name, make("span", { className: "state" })));
    button.dataset.index = index;
    button.dataset.name = `${clip.label}, ${clip.path} from ${clock(clip.start_seconds)}`;
    button.addEventListener("click", () => {
      show(index, true);
      byId("card").scrollIntoView({ block: "nearest" });
    });
    return make("li", {}, button);
  };
  const filter = () => {
    const wanted = byId("filter").value;
    shown = data.clips.map((_, index) => index).filter((index) => {
      if (wanted === "all") return true;
      if (wanted === "unmarked") return !markOf(index);
      if (MARKS.includes(wanted)) return Boolean(markOf(index)) && markOf(index).mark === wanted;
      return `label:${data.clips[index].label}` === wanted;
    });
    list();
    if (shown.length) show(shown.includes(current) ? current : shown[0], false);
    else byId("card").hidden = true;
    notice("filter", shown.length ? "" : "No clip is like that.");
  };

  // --- export ---

  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = () => {
    const lines = [data.columns.join(",")];
    data.clips.forEach((clip, index) => {
      const mark = markOf(index);
      if (mark) lines.push(data.columns.map((name) => cell({ ...clip, ...mark }[name])).join(","));
    });
    return `${lines.join("\n")}\n`;
  };
  const exportMarks = () => {
    const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
    make("a", { href: url, download: "marks.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  // --- hands ---

  for (const button of document.querySelectorAll(".marks button")) {
    button.addEventListener("click", () => mark(button.dataset.mark, false));
  }
  const mark = (wanted, byKey) => {
    setMark(wanted, byId("correct").value.trim());
    if (wanted !== "wrong") return advance();
    show(current, false);
    if (byKey) byId("correct").focus();
  };
  byId("instead").addEventListener("submit", (event) => {
    event.preventDefault();
    const correct = byId("correct").value.trim();
    const before = markOf(current);
    if (correct && correct.toLowerCase() === data.clips[current].label.toLowerCase()) setMark("right", "");
    else if (correct || !before) setMark(correct && before && before.mark === "unsure" ? "unsure" : "wrong", correct);
    else setMark(before.mark, "");
    byId("correct").blur();
    advance();
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("export").addEventListener("click", exportMarks);
  byId("filter").addEventListener("change", filter);
  byId("view").addEventListener("click", (event) => {
    const box = byId("view").getBoundingClientRect();
    if (audio.duration) audio.currentTime = ((event.clientX - box.left) / box.width) * audio.duration;
    audio.play().catch(() => {});
  });
  const follow = () => {
    const share = audio.duration ? audio.currentTime / audio.duration : 0;
    byId("playhead").style.left = `${share * 100}%`;
    if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
  };
  for (const name of ["play", "seeked", "timeupdate", "ended"]) audio.addEventListener(name, follow);
  audio.addEventListener("error", () => notice("clip", `This clip can't be played: ${data.clips[current].audio}`));

  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    r: () => mark("right", true),
    w: () => mark("wrong", true),
    u: () => mark("unsure", true),
    0: () => { setMark(null, ""); show(current, false); },
    c: () => byId("correct").focus(),
    " ": () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("card").hidden) return;
    const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const onButton = event.target.matches("button, summary, input") && event.key === " ";
    const does = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!does || onButton || (event.target === audio && event.key !== "r")) return;
    event.preventDefault();
    does();
  });

  load();
  const labels = [...new Set(data.clips.map((clip) => clip.label))];
  const choices = [["all", "all clips"], ["unmarked", "not marked yet"], ...MARKS.map((name) => [name, name])];
  if (labels.length > 1) choices.push(...labels.map((label) => [`label:${label}`, label || "(nothing)"]));
  byId("filter").replaceChildren(...choices.map(([value, textContent]) => make("option", { value, textContent })));
  byId("commands").textContent = data.commands.join("\n");
  filter();
  const first = shown.find((index) => !markOf(index));
  if (first !== undefined) show(first, false);
})();
