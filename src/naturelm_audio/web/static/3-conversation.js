"use strict";
// Questions about the clips above, and the answers for every window of every clip.
naturelm.parts.conversation = (root, props) => {
  const { make, span, follow, progress, confidence, problemOf, listen } = naturelm;
  const log = make("div", { class: "nl-log", role: "log", "aria-label": "Conversation", tabindex: "0" });
  const hint = make("p", { class: "nl-empty", text: props.hint });
  root.append(hint, log);
  let shown = null;

  function answerLine(value, row) {
    const clip = { name: row.audio_path, id: value.clips[row.audio_path] };
    const problem = problemOf(row);
    if (problem) return make("li", { class: "nl-problem", text: `${row.audio_path}: ${problem}` });
    const place = make("span", { class: "nl-place" });
    const line = make("li", {}, make("div", { class: "nl-answer" },
      make("span", { class: "nl-text", text: row.output || "(no words)" }), confidence(row.confidence),
      make("button", {
        type: "button", class: "nl-chip", "aria-label": `Listen to ${span(row.start_seconds, row.end_seconds)} of ${clip.name}`,
        text: `▶ ${span(row.start_seconds, row.end_seconds)}`,
        onclick: () => {
          if (place.firstChild) { place.replaceChildren(); return; }
          place.replaceChildren(listen(value.session, clip, row.start_seconds, row.end_seconds, value.listening));
          place.querySelector("audio")?.play().catch(() => {});
        },
      })), place);
    return line;
  }

  function turn(value) {
    const question = make("div", { class: "nl-question" }, make("span", { class: "nl-who", text: "You" }),
      make("p", { text: value.question }));
    const groups = {};
    const body = make("div", {});
    const reply = make("div", { class: "nl-reply" }, make("span", { class: "nl-who", text: value.model }), body);
    log.append(question, reply);
    hint.hidden = true;
    if (value.problem) {
      body.append(make("p", { class: "nl-problem", role: "alert", text: value.problem }));
      return;
    }
    const bar = progress(value.session, value.job);
    body.append(bar.element);
    clearBox(value.question);
    follow(value.session, value.job, (news) => {
      const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80; // who reads above is left there
      for (const row of news.new) {
        if (!groups[row.audio_path]) {
          groups[row.audio_path] = make("ul", { "aria-label": row.audio_path });
          bar.element.before(make("div", { class: "nl-clip" }, make("strong", { text: row.audio_path }), groups[row.audio_path]));
        }
        groups[row.audio_path].append(answerLine(value, row));
      }
      bar.update(news);
      if (news.state === "done") bar.element.remove();
      if (atEnd) log.scrollTop = log.scrollHeight;
    });
  }

  /** Empty the box of the question that was taken, unless the next one is being typed. */
  function clearBox(question) {
    const box = document.querySelector("#nl-question-ask textarea, #nl-question-ask input");
    if (!box || box.value !== question) return;
    box.value = "";
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  return (value) => {
    if (!value.turn || value.turn === shown) return;
    shown = value.turn;
    turn(value);
    log.scrollTop = log.scrollHeight;
  };
};
