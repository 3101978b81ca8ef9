"use strict";
// A table that fills as answers come, a summary, downloads; a click on a row lets one hear it.
naturelm.parts.results = (root, props) => {
  const { make, span, follow, progress, confidence, problemOf, listen, downloads, count } = naturelm;
  const FIRST = 200;
  let shown = null;
  let stop = () => {};

  function start(value) {
    stop();
    root.replaceChildren();
    if (value.problem) {
      root.append(make("p", { class: "nl-problem", role: "alert", text: value.problem }));
      return;
    }
    if (!value.job) return;
    const rows = [];
    let visible = FIRST;
    const bar = progress(value.session, value.job);
    const summary = make("div", { class: "nl-summary", "aria-label": "Summary", role: "group" });
    const take = make("div", {});
    const search = make("input", { type: "search", "aria-label": "Show rows that contain", placeholder: "Show rows that contain …", oninput: () => { visible = FIRST; draw(); } });
    const body = make("tbody");
    const several = value.questions.length > 1;
    const heads = ["Recording", "Time", several ? "Question" : null, "Answer", "Confidence"].filter(Boolean);
    const table = make("table", {}, make("caption", { text: "Answers", class: "nl-hidden" }),
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))), body);
    const more = make("button", { type: "button", class: "nl-button", hidden: true, text: "Show more rows", onclick: () => { visible += 1000; draw(); } });
    const scroll = make("div", { class: "nl-table", tabindex: "0", role: "region", "aria-label": "Table of answers" }, table);
    root.append(bar.element, summary, take, search, scroll, more);

    function line(row) {
      const problem = problemOf(row);
      const id = value.clips[row.audio_path];
      const time = row.start_seconds === null ? "" : span(row.start_seconds, row.end_seconds);
      const hear = problem || row.start_seconds === null ? make("span", { text: time }) : make("button", {
        type: "button", class: "nl-chip", "aria-label": `Listen to ${time} of ${row.audio_path}`, text: `▶ ${time}`,
        onclick: () => hearRow(entry, row, id),
      });
      const entry = make("tr", { class: problem ? "nl-problem" : null },
        make("th", { scope: "row", text: row.audio_path }), make("td", {}, hear),
        several ? make("td", { text: row.query }) : null,
        make("td", { text: problem || row.output || "(no words)" }), make("td", {}, confidence(row.confidence)));
      return entry;
    }

    function hearRow(entry, row, id) {
      const open = entry.nextSibling;
      if (open && open.classList.contains("nl-heard")) { open.remove(); return; }
      const player = listen(value.session, { id, name: row.audio_path }, row.start_seconds, row.end_seconds, value.listening);
      entry.after(make("tr", { class: "nl-heard" }, make("td", { colspan: heads.length }, player)));
      player.querySelector("audio")?.play().catch(() => {});
    }

    function matching() {
      const wanted = search.value.trim().toLowerCase();
      if (!wanted) return rows;
      return rows.filter((row) => `${row.audio_path}\n${row.query}\n${row.output || row.error}`.toLowerCase().includes(wanted));
    }

    function draw() {
      const found = matching();
      body.replaceChildren(...found.slice(0, visible).map(line));
      more.hidden = found.length <= visible;
    }

    function summarise(news) {
      const lines = value.questions.map((question) => {
        const counts = new Map();
        for (const row of rows) if (row.query === question && !row.error) counts.set(row.output, (counts.get(row.output) || 0) + 1);
        const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6);
        const rest = counts.size - most.length;
        return make("div", {}, several ? make("p", { class: "nl-query", text: question }) : null,
          make("ul", { class: "nl-counts" }, ...most.map(([text, number]) => make("li", {},
            make("b", { text: number.toLocaleString("en") }), make("span", { text: text || "(no words)" }))),
          rest > 0 ? make("li", { text: `and ${count(rest, "other answer")}` }) : null));
      });
      const failed = news.failed ? `, ${news.failed} could not be heard` : "";
      summary.replaceChildren(make("p", { text: `${news.finished || 0} of ${count(value.recordings, "recording")}${failed}` }), ...lines);
    }

    stop = follow(value.session, value.job, (news) => {
      bar.update(news);
      if (news.new.length) {
        const before = rows.length;
        rows.push(...news.new);
        if (!search.value && before < visible) {
          body.append(...news.new.slice(0, visible - before).map(line));
          more.hidden = rows.length <= visible;
        } else if (search.value) draw();
      }
      summarise(news);
      if (news.state !== "running" && rows.length && !take.firstChild) {
        take.append(downloads(value.session, value.job, props.downloads, value.recordings));
      }
    });
  }

  return (value) => {
    if (!value.run || value.run === shown) return;
    shown = value.run;
    start(value);
  };
};
