"use strict";
// The tab of long recordings: time line, filters, the chosen segment, and the same answers as a list.
naturelm.parts.long = (root, props) => {
  const { make, span, follow, progress, confidence, problemOf, listen, downloads, percent, count } = naturelm;
  const MOST_LABELS = 24;
  const MOST_ROWS = 300;
  let shown = null;
  let stop = () => {};

  function start(value) {
    stop();
    root.replaceChildren();
    root.dataset.segments = 0;
    root.dataset.recording = value.clip?.name || "";
    if (value.problem) root.append(make("p", { class: "nl-problem", role: "alert", text: value.problem }));
    if (!value.job) return;
    document.querySelector("#nl-uploads-long .nl-preview")?.replaceChildren(); // its picture is drawn below
    const segments = [];
    const colours = naturelm.colours.table();
    const off = new Set();
    const counts = new Map();
    const bar = progress(value.session, value.job);
    const detail = make("section", { class: "nl-detail", "aria-label": "Chosen segment", "aria-live": "polite" },
      make("p", { class: "nl-empty", text: "Choose a segment to hear it and see its spectrogram." }));
    const line = naturelm.timeline(value, segments, colours, tell);
    const legend = make("div", { class: "nl-legend", role: "group", "aria-label": "Answers to show" });
    const least = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0, id: "nl-least", oninput: filter });
    const leastShown = make("output", { for: "nl-least", text: "0 %" });
    const search = make("input", { type: "search", placeholder: "Answers that contain …", "aria-label": "Show answers that contain", oninput: filter });
    const filters = make("div", { class: "nl-filters" },
      make("label", { for: "nl-least", text: "Confidence of at least" }), least, leastShown, search);
    const take = make("div", {});
    const rows = make("ol", { class: "nl-segments" });
    const list = make("details", { ontoggle: fill }, make("summary", { text: "The same as a list" }), rows);
    root.append(bar.element, line.element, legend, filters, detail, take, list);

    const visible = (segment) => !off.has(segment.output || "") && (segment.confidence ?? 1) >= Number(least.value)
      && (segment.output || "").toLowerCase().includes(search.value.trim().toLowerCase());

    function filter() {
      leastShown.textContent = percent(Number(least.value));
      line.filter(visible);
      fill();
    }

    function fill() {
      if (!list.open) return;
      const found = segments.filter(visible);
      rows.replaceChildren(...found.slice(0, MOST_ROWS).map((segment) => make("li", {}, make("button", {
        type: "button", class: "nl-chip", onclick: () => line.choose(segment, true),
        text: `${span(segment.start_seconds, segment.end_seconds)}  ${segment.output || problemOf(segment)}`,
      }), confidence(segment.confidence))));
      if (found.length > MOST_ROWS) rows.append(make("li", { text: `and ${count(found.length - MOST_ROWS, "other segment")}: filter to see them, or take all home` }));
    }

    function tell(segment, play) {
      if (!segment) return;
      const player = listen(value.session, value.clip, segment.start_seconds, segment.end_seconds, value.listening);
      const same = segments.filter((one) => one.start_seconds === segment.start_seconds && one.end_seconds === segment.end_seconds);
      const answers = same.map((one) => make("li", {},
        value.questions.length > 1 ? make("span", { class: "nl-query", text: one.query }) : null,
        make("strong", { text: one.output || problemOf(one) }), confidence(one.confidence), ranking(one)));
      detail.replaceChildren(make("p", { class: "nl-when", text: span(segment.start_seconds, segment.end_seconds) }), make("ul", {}, ...answers), player);
      if (play) player.querySelector("audio")?.play().catch(() => {});
    }

    function ranking(row) {
      if (!row.labels || row.labels.length < 2) return null;
      return make("ol", { class: "nl-ranking" }, ...row.labels.slice(0, 5).map((one) => make("li", {},
        make("span", { text: one.label }), confidence(one.score))));
    }

    const chips = new Map();
    const others = make("span", { hidden: true });
    legend.append(others);

    function chip(text) {
      const { colour, ink, letter } = colours.of(text);
      const swatch = make("span", { class: "nl-swatch", "aria-hidden": "true", text: letter });
      swatch.style.background = colour;
      swatch.style.color = ink;
      const number = make("span", { class: "nl-number" });
      const button = make("button", {
        type: "button", class: "nl-chip", "aria-pressed": "true",
        onclick: () => {
          if (!off.delete(text)) off.add(text);
          button.setAttribute("aria-pressed", String(!off.has(text)));
          filter();
        },
      }, swatch, make("span", { text: text || "(no words)" }), number);
      others.before(button);
      return number;
    }

    /** One button for each answer; those that are there stay, so that none is lost under a finger. */
    function drawLegend() {
      for (const [text, number] of counts) {
        if (!chips.has(text) && chips.size < MOST_LABELS) chips.set(text, chip(text));
        if (chips.has(text)) chips.get(text).textContent = String(number);
      }
      others.hidden = counts.size <= chips.size;
      others.textContent = `and ${count(counts.size - chips.size, "other answer")}`;
    }

    stop = follow(value.session, value.job, (news) => {
      bar.update(news);
      for (const row of news.new) {
        if (row.start_seconds === null) {
          root.prepend(make("p", { class: "nl-problem", role: "alert", text: problemOf(row) }));
          continue;
        }
        segments.push(row);
        line.grow(row.end_seconds);
        if (!row.error) counts.set(row.output, (counts.get(row.output) || 0) + 1);
      }
      if (news.new.length) {
        line.draw();
        drawLegend();
        fill();
        root.dataset.segments = segments.length;
      }
      if (news.state !== "running" && segments.length && !take.firstChild) {
        take.append(downloads(value.session, value.job, props.downloads, value.recordings, () => ({ least: least.value }),
          "The least confidence chosen above holds here too, except in JSON Lines. Answers that are switched off stay in."));
      }
    });
  }

  return (value) => {
    if (!value.run || value.run === shown) return;
    shown = value.run;
    start(value);
  };
};
